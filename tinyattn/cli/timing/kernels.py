"""The kernels beside other libraries, and beside the limits of the machine: a matrix product and reading memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.cli.outputs import Line, write_picture
from tinyattn.cli.timing.fresh import fresh_rows
from tinyattn.cli.timing.kernel_cases import CASES, FAR, Case, bytes_moved, described, operations
from tinyattn.cli.timing.measure import REST, interleaved, limits, ratio
from tinyattn.cli.timing.peers import peers_of
from tinyattn.cli.timing.table import Table
from tinyattn.cli.timing.train import BATCH, train_seconds
from tinyattn.engine import vjp
from tinyattn.models.config import DecoderConfig
from tinyattn.ops.types import Array

# Seconds of one case after which no further round begins.
PATIENCE = 40.0
# The lengths of the picture of growth.
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
# The printed columns, without those that are the same in every row, and the form of those that are numbers.
COLUMNS = ("case", "ms", "beside", "its ms", "times", "asked", "GFLOP", "GFLOP/s", "of the limit", "served by")
FORMS = {"ms": "{:,.1f}", "its ms": "{:,.1f}", "GFLOP": "{:,.2f}", "GFLOP/s": "{:.0f}", "of the limit": "{:.0%}", "times": "{:.2f}"}


def ours(case: Case, arrays: tuple[Array, ...]) -> Callable[[], Any]:
    """Returns the call of our kernel, with its backward where the case has one."""
    from tinyattn import kernels

    attend: Callable[..., Any] = kernels.attention
    options = {"causal": case.causal, "window": case.window, "mask": case.pattern}
    if not case.backward:
        return lambda: attend(*arrays, **options)
    ones = np.ones_like(arrays[0])
    return lambda: vjp(lambda qkv: attend(*qkv, **options), arrays)[1](ones)


def time_kernels(rounds: int) -> list[Line]:
    """Returns a row per case and library, with the milliseconds of both and their ratio, and the rows of everything else."""
    from tinyattn.kernels.tiles.threads import thread_count

    product, reading = limits()
    print(f"float32, {thread_count()} threads; limits: a product {product:.0f} GFLOP/s, reading {reading:.1f} GB/s; "
          f"rounds per case: {rounds}, or as many as begin within {PATIENCE:.0f} s", flush=True)
    lines: list[Line] = []
    for case in CASES:
        arrays = case.arrays()
        mine = ours(case, arrays)
        for name, theirs in (peers_of(case, arrays) or {"": mine}).items():
            # In pairs: a third library would leave the caches, and the memory that it freed, to one of the two.
            taken = interleaved({"ours": mine, "theirs": theirs}, rounds, warm_up=1, rest=REST, seconds=PATIENCE)
            beside = {"beside": name, "its ms": 1e3 * statistics.median(taken["theirs"]),
                      "times": ratio(taken["theirs"], taken["ours"]), "at least": case.asked.get(name)} if name else {}
            lines.append({**figures(case, taken["ours"]), **beside})
    lines += [*growth_rows(rounds), *train_rows(rounds), *fresh_rows()]
    return [{**line, "dtype": "float32", "threads": thread_count()} for line in lines]


def figures(case: Case, seconds: list[float]) -> Line:
    """Returns a case with our milliseconds, the rate that they come to, and its share of what the machine reaches."""
    spent, (product, reading) = statistics.median(seconds), limits()
    batch, _, kv_heads, q_len, kv_len, dim = case.shape
    rate = operations(case) / spent / 1e9
    share = rate / product if q_len > 1 else 8.0 * batch * kv_heads * kv_len * dim / spent / 1e9 / reading
    return {**described(case), "bytes": bytes_moved(case), "ms": 1e3 * spent, "GFLOP/s": rate, "of the limit": share}


def growth_rows(rounds: int) -> list[Line]:
    """Returns what twice the length costs under a window, forward and backward."""
    half = Case((*FAR[:3], FAR[3] // 2, FAR[4] // 2, FAR[5]), backward=True, window=(255, 0))
    double = replace(half, shape=FAR)
    taken = interleaved({str(case): ours(case, case.arrays()) for case in (half, double)}, rounds, warm_up=1, rest=REST,
                        seconds=PATIENCE)
    short, long = taken.values()
    return [{**described(double), "ms": 1e3 * statistics.median(long), "beside": "half the length",
             "its ms": 1e3 * statistics.median(short), "times": ratio(long, short), "at most": 2.1}]


def train_rows(rounds: int) -> list[Line]:
    """Returns the training step of the default model beside PyTorch's, where PyTorch is installed."""
    taken, config = train_seconds(rounds), DecoderConfig()
    mine = taken.pop("tinyattn")
    # A weight takes 6 FLOPs per token; the embedding takes none, as its rows are only looked up.
    weights = BATCH * config.context * (config.parameters - config.vocab * config.width)
    seen = Case((BATCH, config.heads, config.kv_heads, config.context, config.context, config.head_dim), backward=True)
    spent = (6 * weights + config.layers * operations(seen)) / 1e9
    says = f"training step, {config.layers} layers, width {config.width}, context {config.context}, batch {BATCH}"
    return [{**described(seen), "case": says, "GFLOP": spent, "ms": 1e3 * statistics.median(mine), "beside": name,
             "its ms": 1e3 * statistics.median(theirs), "times": ratio(theirs, mine), "at least": 1.0}
            for name, theirs in taken.items()]


def shown(line: Line) -> dict[str, str]:
    """Returns a row as text; a number that a row does not have is left empty."""
    asked = next((f"{word} {line[word]:g}" for word in ("at least", "at most") if line.get(word)), None)
    line = line | {"asked": asked}
    return {name: "" if line.get(name) is None else FORMS.get(name, "{}").format(line[name]) for name in COLUMNS}


def points_of(lines: list[Line]) -> dict[str, tuple[float, float]]:
    """Returns (FLOPs per byte, GFLOP/s) of each case, measured beside the first library: a later one may leave less memory."""
    points: dict[str, tuple[float, float]] = {}
    for line in lines:
        if line.get("GFLOP/s"):
            points.setdefault(line["case"], (1e9 * line["GFLOP"] / line["bytes"], line["GFLOP/s"]))
    return points


def draw(path: str, lines: list[Line], rounds: int) -> None:
    """Writes a picture of the cases under the roofline of the machine, and of the growth of milliseconds with length."""
    from tinyattn import plot

    curves: dict[str, dict[int, float]] = {}
    for length in LENGTHS:
        for says, window in (("causal", None), ("window 255", (255, 0))):
            case = Case((1, 8, 8, length, length, 64), window=window)
            arrays = case.arrays()
            for name, call in {"tinyattn": ours(case, arrays), **peers_of(case, arrays)}.items():
                taken = interleaved({name: call}, rounds, warm_up=1, rest=REST, seconds=5.0)
                curves.setdefault(f"{name}, {says}", {})[length] = 1e3 * statistics.median(taken[name])
    figure = plot.page(2)
    plot.roofline(points_of(lines), *limits(), ax=figure.axes[0])
    plot.growth(curves, ylabel="ms", ax=figure.axes[1])
    write_picture(figure, path)


TABLE = Table("the kernels beside other libraries and the limits of the machine", time_kernels, shown, draw)
