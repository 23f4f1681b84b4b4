"""Seconds, measured in turns: other work on the machine then slows everything that is compared alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

# The threads of a library spin for a while after its call; the next call is measured when they have stopped.
REST = 0.06
LEAST_ROUNDS = 3


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: int = 2, rest: float = 0.0,
                seconds: float = float("inf"), least: int = LEAST_ROUNDS) -> dict[str, list[float]]:
    """Returns the seconds of each function in each round; a round runs each once.

    No round begins after so many `seconds`, but the `least` rounds are always run.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    begun = time.perf_counter()
    for number in range(rounds + warm_up):
        if number >= warm_up + least and time.perf_counter() - begun > seconds:
            break
        for name, function in functions.items():
            time.sleep(rest)
            started = time.perf_counter()
            function()
            if number >= warm_up:
                taken[name].append(time.perf_counter() - started)
    return taken


def ratio(these: list[float], those: list[float]) -> float:
    """Returns the median over the rounds of these / those."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


@cache
def limits() -> tuple[float, float]:
    """Returns the limits of this machine: GFLOP/s of NumPy's product of float32 matrices, GB/s of reading in two threads."""
    square, long = np.ones((2048, 2048), np.float32), np.ones(1 << 26, np.float32)
    with ThreadPoolExecutor(2) as pool:
        taken = interleaved({"product": lambda: square @ square, "read": lambda: list(pool.map(np.max, np.split(long, 2)))}, 5)
    return 2 * 2048 ** 3 / statistics.median(taken["product"]) / 1e9, long.nbytes / statistics.median(taken["read"]) / 1e9
