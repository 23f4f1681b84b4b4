"""Where the time of a training step goes: its parts beside the same parts in PyTorch."""

from __future__ import annotations

import statistics
from importlib.util import find_spec

from tinyattn.cli import memory
from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.measure import REST, interleaved, ratio
from tinyattn.cli.timing.step_parts import parts
from tinyattn.cli.timing.table import Table
from tinyattn.cli.timing.torch_parts import torch_parts
from tinyattn.cli.timing.train import BATCH, train_seconds
from tinyattn.models.config import DecoderConfig

OURS, THEIRS = "tinyattn", "PyTorch eager"
REST_OF_IT = "everything else"


def time_step(rounds: int) -> list[Line]:
    """Returns a row per part of the step, one for the rest of the step, and one for the whole step.

    A part is measured alone, forward and backward, as often as a step has it. What is left of the whole step is the
    engine, additions, copies between the parts, and the reading of text; it is negative where the step, which computes two
    halves of its batch at the same time, takes less than all parts do one after the other.
    """
    memory.keep()
    whole = train_seconds(rounds)
    theirs = THEIRS in whole and find_spec("torch") is not None
    peer = torch_parts(DecoderConfig(), BATCH) if theirs else {}
    seconds: dict[str, dict[str, list[float]]] = {}
    for name, ours in parts(DecoderConfig(), BATCH).items():
        seconds[name] = interleaved({OURS: ours} | ({THEIRS: peer[name]} if theirs else {}), rounds, rest=REST)
    medians = {name: {side: statistics.median(taken) for side, taken in both.items()} for name, both in seconds.items()}
    total = {side: statistics.median(taken) for side, taken in whole.items()}
    lines = [line(name, medians[name], total[OURS], ratio(both[OURS], both[THEIRS]) if theirs else None)
             for name, both in seconds.items()]
    left = {side: total[side] - sum(part[side] for part in medians.values()) for side in total}
    lines.append(line(REST_OF_IT, left, total[OURS], None))
    lines.append(line("the whole step", total, total[OURS], ratio(whole[OURS], whole[THEIRS]) if theirs else None))
    return lines


def line(name: str, seconds: dict[str, float], total: float, beside: float | None) -> Line:
    """Returns a row: our milliseconds and their share of our step, PyTorch's, and the ratio of ours to its own."""
    return {"part": name, "ms": 1e3 * seconds[OURS], "share": seconds[OURS] / total,
            "pytorch_ms": 1e3 * seconds[THEIRS] if THEIRS in seconds else None, "ours_to_pytorch": beside}


def shown(found: Line) -> dict[str, str]:
    """Returns a row as it is printed; blank where PyTorch was not measured."""
    peer, beside = found["pytorch_ms"], found["ours_to_pytorch"]
    return {"part": found["part"], "ms": f"{found['ms']:.1f}", "share": f"{found['share']:.0%}",
            "PyTorch ms": "" if peer is None else f"{peer:.1f}", "ours / it": "" if beside is None else f"{beside:.2f}"}


TABLE = Table("the parts of a training step beside PyTorch's", time_step, shown)
