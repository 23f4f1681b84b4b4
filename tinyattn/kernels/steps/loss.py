"""Softmax cross-entropy: one log-sum-exp per row is kept, and the exponentials are computed again for the gradient."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.steps.norm import sum_of
from tinyattn.kernels.steps.registers import WORK, again, alike, bare, mapped
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.lanes import lanes
from tinyattn.kernels.tiles.storage import rounded_up
from tinyattn.kernels.tiles.threads import next_task, share
from tinyattn.ops import loss
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# Rows of one task.
BLOCK = 64
# Beyond this a logit is left to the definition.
LARGEST = 1e30

exp_step = mapped(lambda f, x: (f.exp(x),))


@inlined
def largest_of(x):
    """Returns the largest number of a row, by eight running ones: a single one waits for itself at every step."""
    a = b = c = d = e = f = g = h = x[0]
    for n in range(x.size // 8):
        y = x[8 * n : 8 * n + 8]
        a, b, c, d = max(a, y[0]), max(b, y[1]), max(c, y[2]), max(d, y[3])
        e, f, g, h = max(e, y[4]), max(f, y[5]), max(g, y[6]), max(h, y[7])
    for n in range(x.size // 8 * 8, x.size):
        a = max(a, x[n])
    return max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)))


@compiled
def row_losses(counter, logits, targets, padded, losses, sums):
    """Fills each row's loss and log-sum-exp; `padded` is the vocabulary rounded up to whole registers."""
    vocab = logits.shape[1]
    powers = np.full(padded, -np.inf, logits.dtype)
    while True:
        task = next_task(counter)
        if task * BLOCK >= logits.shape[0]:
            break
        for r in range(task * BLOCK, min(logits.shape[0], task * BLOCK + BLOCK)):
            row = logits[r]
            top = largest_of(row)
            for c in range(vocab):
                powers[c] = row[c] - top
            for c in range(vocab, padded):
                powers[c] = -np.inf
            exp_step((powers,), (powers,), 0, padded)
            sums[r] = np.log(sum_of(powers)) + top
            losses[r] = sums[r] - row[targets[r]]


@compiled
def logit_slopes(counter, logits, targets, padded, sums, factor, d_logits):
    """Fills d_logits = (softmax - 1 at the target) factor."""
    vocab = logits.shape[1]
    powers = np.full(padded, -np.inf, logits.dtype)
    while True:
        task = next_task(counter)
        if task * BLOCK >= logits.shape[0]:
            break
        for r in range(task * BLOCK, min(logits.shape[0], task * BLOCK + BLOCK)):
            row, slopes = logits[r], d_logits[r]
            for c in range(vocab):
                powers[c] = row[c] - sums[r]
            for c in range(vocab, padded):
                powers[c] = -np.inf
            exp_step((powers,), (powers,), 0, padded)
            powers[targets[r]] -= 1
            for c in range(vocab):
                slopes[c] = powers[c] * factor


def in_numpy(logits: Array, targets: Array) -> Array:
    """Returns the same by functions that have rules."""
    return loss.cross_entropy(logits, targets)


@again(in_numpy)
@primitive
def cross_entropy_primitive(logits: Array, targets: Array) -> tuple[Array, Any]:
    """Returns the mean loss of finite logits (..., vocab) at targets (...) that are inside the vocabulary."""
    rows = np.require(logits.reshape(-1, logits.shape[-1]), requirements=["C", "W"])
    places = np.require(targets.reshape(-1), np.int64, ["C", "W"])
    losses, sums = np.empty(len(rows), rows.dtype), np.empty(len(rows), rows.dtype)
    padded = rounded_up(rows.shape[1], lanes(rows.itemsize))
    share(row_losses, -(-len(rows) // BLOCK), WORK * rows.size, rows, places, padded, losses, sums)
    return np.asarray(np.mean(losses)), (rows, places, padded, sums, logits.shape)


@cross_entropy_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    rows, places, padded, sums, shape = saved
    d_logits = np.empty(rows.shape, rows.dtype)
    factor = rows.dtype.type(d_out) / rows.dtype.type(len(rows))
    share(logit_slopes, -(-len(rows) // BLOCK), WORK * rows.size, rows, places, padded, sums, factor, d_logits)
    return {"logits": d_logits.reshape(shape)}


@widened
def cross_entropy(logits: Array, targets: Array, *, ignore: int | None = None) -> Array:
    """Returns `tinyattn.ops.cross_entropy` by the kernel; targets to ignore and logits beyond 1e30 are left to that."""
    usual = (alike(logits) and ignore is None and type(targets) is np.ndarray and targets.dtype.kind in "iu" and logits.ndim > 0
             and targets.shape == logits.shape[:-1] and logits.size > 0)
    if usual and 0 <= targets.min() and targets.max() < logits.shape[-1]:
        values = bare(logits)
        if values.max() < LARGEST and values.min() > -LARGEST:
            return cross_entropy_primitive(logits, targets)
    return loss.cross_entropy(logits, targets, ignore=ignore)
