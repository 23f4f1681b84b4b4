"""The definition of attention beside its formula, typed out."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.measure import interleaved, ratio
from tinyattn.cli.timing.table import Table


def by_hand(q: Any, k: Any, v: Any) -> Any:
    """Returns attention by its formula, without any check."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = exps / exps.sum(axis=-1, keepdims=True)
    return weights @ v


def time_attention(rounds: int) -> list[Line]:
    """Returns a row per shape: microseconds of the definition and of the formula, their ratio and their difference."""
    lines: list[Line] = []
    for shape in ((1, 2, 8, 8), (1, 8, 256, 64), (1, 8, 1024, 64)):
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]
        repeat = 200 if shape[2] < 100 else 1
        seconds = interleaved({"definition": partial(repeated, repeat, definitions.attention, *arrays),
                               "by hand": partial(repeated, repeat, by_hand, *arrays)}, rounds)
        mine, hand = seconds["definition"], seconds["by hand"]
        lines.append({"shape": str(shape), "definition us": f"{1e6 * statistics.median(mine) / repeat:,.0f}",
                      "by hand us": f"{1e6 * statistics.median(hand) / repeat:,.0f}",
                      "ratio": f"{ratio(mine, hand):.2f}",
                      "more us": f"{1e6 * statistics.median(a - b for a, b in zip(mine, hand, strict=True)) / repeat:,.0f}"})
    return lines


def repeated(times: int, function: Any, *arrays: Any) -> None:
    """Calls a function so many times."""
    for _ in range(times):
        function(*arrays)


TABLE = Table("the definition of attention beside its formula", time_attention)
