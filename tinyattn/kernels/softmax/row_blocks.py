"""The blocks of rows in which scores are made: which heads go together, which keys a block may see, and which pairs are hidden."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinyattn.kernels.softmax.row_scores import Call, Scores, Task
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks.pattern import Pattern, band
from tinyattn.ops.types import Array

# Bytes of the scores that are made at a time, which should stay in a core's own cache; at least LEAST rows, for the products.
PART_BYTES, LEAST = 1 << 20, 16


class Block(NamedTuple):
    """Some rows of queries and the keys that they may see, their capped scores, and these as weights are made of them.

    `shown` holds -inf where a pair is hidden, and may be written over.
    """

    rows: slice
    keys: slice
    capped: Array
    shown: Array


def tasks(q: Array, k: Array, together: bool) -> list[Task]:
    """Returns the tasks of a call: one per sequence and kv head, or one per sequence."""
    heads, kv_heads = q.shape[-3], k.shape[-3]
    groups = heads // max(kv_heads, 1)
    parts = [(slice(0, heads), slice(0, kv_heads))] if together else [
        (slice(h * groups, (h + 1) * groups), slice(h, h + 1)) for h in range(kv_heads)]
    return [Task(at, *part) for at in np.ndindex(q.shape[:-3]) for part in parts]


def widened(x: Array | None, full: tuple[int, ...]) -> Array | None:
    """Returns a mask or bias with as many axes as (..., heads, i, j)."""
    return None if x is None else x.reshape((1,) * (len(full) - x.ndim) + x.shape)


def blocks(task: Task, scores: Scores, call: Call, bias: Array | None, full: tuple[int, ...]) -> Iterator[Block]:
    """Yields the blocks of a task, the first rows first."""
    q_len, kv_len = full[-2:]
    first, size = kv_len - q_len, max(1, len(scores.q) * kv_len * scores.q.itemsize)
    step = max(LEAST, PART_BYTES // size)
    for start in range(0, q_len, step):
        rows = slice(start, min(start + step, q_len))
        stop = kv_len if call.right is None else min(max(first + rows.stop + call.right, 0), kv_len)
        keys = slice(0 if call.left is None else min(max(first + start - call.left, 0), stop), stop)
        capped = scores.made(rows, keys)
        if call.softcap is not None:
            capped /= call.softcap
            np.tanh(capped, out=capped)
            capped *= call.softcap
        shown = scores.mixed_before(capped)
        if shown is capped and call.softcap is not None:
            shown = capped.copy()  # the backward reads the capped scores
        if bias is not None:
            shown += bias[task.of(bias, rows, keys)]
        hide(shown, rows, keys, call, task, full)
        yield Block(rows, keys, capped, shown)


@lru_cache(maxsize=2)
def out_of_band(rows: int, width: int, left: int | None, right: int | None) -> Array:
    """Returns which pairs lie out of a band, (rows, width): kept, as most blocks of a call have the same."""
    return ~band(np.arange(rows)[:, None], np.arange(width), left, right)


def hide(shown: Array, rows: slice, keys: slice, call: Call, task: Task, full: tuple[int, ...]) -> None:
    """Writes -inf over the scores (heads, rows, keys) of pairs that are not visible."""
    positions = np.arange(rows.start, rows.stop) + (full[-1] - full[-2])
    if call.left is not None or call.right is not None:
        # Without a left side all rows see the keys before those that the first row does not see.
        low = keys.start if call.left is not None or call.right is None else min(max(int(positions[0]) + call.right + 1, 0), keys.stop)
        ahead = call.right if call.right is None else call.right + int(positions[0]) - low
        behind = call.left if call.left is None else call.left - int(positions[0]) + low
        np.copyto(shown[..., low - keys.start :], -np.inf, where=out_of_band(len(positions), keys.stop - low, behind, ahead))
    if isinstance(call.mask, Pattern):
        made = call.mask.visible(positions, np.arange(keys.start, keys.stop))
        check_broadcast("mask", (*made.shape[:-2], *full[-2:]), full)
        seen = made.reshape((1,) * (len(full) - made.ndim) + made.shape)
        np.copyto(shown, -np.inf, where=~seen[task.of(seen, slice(None), slice(None))])
    elif call.mask is not None:
        np.copyto(shown, -np.inf, where=~call.mask[task.of(call.mask, rows, keys)])
