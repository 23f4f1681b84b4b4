"""The blocks of keys that each query reads: its own and those that score highest, found for some queries at a time."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.blas import each_multiplying
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.ops.types import Array

# Scores of queries and blocks that are held at once.
TOGETHER = 1 << 17


class Choice(NamedTuple):
    """How blocks of `block` keys are chosen, `keep` per query with its own.

    With `shared`, all heads of a group choose together, and the first and the previous block are always chosen.
    `worth(q, means, positions, choice)` scores the blocks, given by the means of their keys, for some queries.
    """

    block: int
    keep: int
    shared: bool
    scale: float
    worth: Callable[[Array, Array, Array, Choice], Array]


def picks_of(q: Array, k: Array, choice: Choice) -> Array:
    """Returns the blocks that each query reads, (..., heads, i, count), or (..., kv_heads, i, count) with a shared choice.

    Its own block comes first; -1 stands where there are fewer past blocks than a query may read.
    """
    block, (kv_heads, kv_len), q_len = choice.block, k.shape[-3:-1], q.shape[-2]
    complete, first = kv_len // block, kv_len - q_len
    means = k[..., : complete * block, :].reshape(*k.shape[:-2], complete, block, k.shape[-1]).mean(axis=-2)
    lead = (*q.shape[:-3], kv_heads if choice.shared else q.shape[-3])
    picks = pages.empty((*lead, q_len, choice.keep), np.int32)
    scores = complete * q.size // max(1, q.shape[-1])
    rows = max(1, TOGETHER // max(1, scores // max(1, q_len)))

    def some(n: int) -> None:
        start = n * rows
        positions = np.arange(start, min(q_len, start + rows)) + first
        # Blocks that no query of these may choose are left out: all but those before the last query's own.
        past = means[..., : positions[-1] // block + (1 if choice.shared and (positions[-1] + 1) % block == 0 else 0), :]
        worth = choice.worth(q[..., start : start + rows, :], past, positions, choice)
        own = (positions // block).astype(np.int32)
        made = np.empty((*lead, len(own), choice.keep), np.int32)
        choose(np.zeros(1, np.int64), len(own), worth.shape[-1], choice.keep, choice.shared,
               np.require(worth, requirements=["C", "W"]).reshape(-1), own, made.reshape(-1))
        picks[..., start : start + rows, :] = made

    each_multiplying(some, -(-q_len // rows), scores)
    return picks


@compiled
def choose(counter, rows, blocks, count, shared, worth, own, picks):
    """Fills picks [head][row][count] with each row's own block and the best of those before it; a task is one head.

    worth is [head][row][blocks]. NaN counts as the largest number; of equal numbers the earlier block is chosen. With `shared`
    the first and the previous block come before all others.
    """
    best = np.empty(count, worth.dtype)
    tasks = picks.size // max(1, rows * count)
    while True:
        head = next_task(counter)
        if head >= tasks:
            break
        for row in range(rows):
            at, mine = (head * rows + row) * count, own[row]
            picks[at] = mine
            held, low, high = 1, 0, mine
            if shared:
                if held < count and mine > 0:
                    picks[at + held] = 0
                    held, low = held + 1, 1
                if held < count and mine > 1:
                    picks[at + held] = mine - 1
                    held, high = held + 1, mine - 1
            begin = held
            for n in range(begin, count):
                picks[at + n] = -1
            if begin == count:
                continue
            for b in range(low, high):
                x = worth[(head * rows + row) * blocks + b]
                if np.isnan(x):
                    x = worth.dtype.type(np.inf)
                if held == count:
                    if not x > best[count - 1]:
                        continue
                else:
                    held += 1
                n = held - 1
                while n > begin and x > best[n - 1]:
                    best[n] = best[n - 1]
                    picks[at + n] = picks[at + n - 1]
                    n -= 1
                best[n] = x
                picks[at + n] = b
