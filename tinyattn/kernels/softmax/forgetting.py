"""Forgetting attention in the exact kernel: running sums of the gates, one number per query and one per key, in a score rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.gates import check_log_share
from tinyattn.ops.masks import documents, per_head
from tinyattn.ops.options import Window, check_scale, check_window, first_position
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# A weight below exp(-750) is 0 in every dtype.
NOTHING = 750.0
# Queries of a decoding step: for so few the biases of all keys are no larger than the keys.
FEW = 8


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_forget": "(j)"})
def forgetting_attention(q: Array, k: Array, v: Array, *, log_forget: Array, window: Window | None = None,
                         scale: float | None = None) -> Array:
    """Returns causal attention in which the forget gates of all tokens after a key lower its score; compiled.

    Formula: s_ij = scale q_i . k_j + c_i - c_j, c the running sum of log f in two float64 numbers. A gate so near to 0 that
    nothing before it has a weight counts as 0: it starts a segment, and tiles of pairs in two segments are skipped.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_forget (..., heads, j)
    -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.forgetting_attention`.

    Paper: Lin et al. 2025, arXiv:2503.02130.

    >>> x, f = np.zeros((2, 1)), np.array([1.0, 0.25])
    >>> forgetting_attention(x, x, np.array([[0.0], [5.0]]), log_forget=np.log(f))[:, 0]
    array([0., 4.])
    """
    first = first_position(q, k)
    log_forget = check_log_share("log_forget", log_forget, (*q.shape[:-2], k.shape[-2]), np.float64)
    check_window(window)
    # A token's own score is at least -most and those of others are at most +most: behind a lower gate they have no weight.
    most = abs(check_scale(scale, q.shape[-1])) * longest(q) * longest(k)
    plain = getattr(log_forget, "value", log_forget)
    closed = np.isneginf(plain) | (plain < -(2.0 * most + NOTHING))  # of NaN or infinite scores only gates of 0 are closed
    gates = np.where(closed, 0.0, log_forget)
    sums = np.cumsum(gates, axis=-1)
    lost = lost_by(sums, gates)
    rows, row_lost = sums[..., first:, None], lost[..., first:, None]
    segments = np.cumsum(closed, axis=-1) if closed.any() else None
    if q.shape[-2] < FEW:
        same = None if segments is None else segments[..., first:, None] == segments[..., None, :]
        bias = (rows - sums[..., None, :]) + (row_lost - lost[..., None, :])
        return attention(q, k, v, mask=same, bias=bias.astype(q.dtype), causal=True, window=window, scale=scale)
    mask = None if segments is None else per_head([documents(segments[..., h, :]) for h in range(segments.shape[-2])])
    rule = ScoreRule(lowered, *in_two(rows, row_lost, q.dtype), *in_two(sums[..., None, :], lost[..., None, :], q.dtype))
    return attention(q, k, v, mask=mask, causal=True, window=window, scale=scale, score=rule)


def longest(x: Array) -> float:
    """Returns the length of the longest vector; 0 without any."""
    plain = getattr(x, "value", x)
    return float(np.sqrt(np.vecdot(plain, plain).max(initial=0.0)))


def lost_by(sums: Array, numbers: Array) -> Array:
    """Returns what rounding took from running sums of these numbers, as a constant for the gradient.

    The differences of near sums are small, and would lose the digits that a long text takes from the sums.
    """
    sums, numbers = (getattr(x, "value", x) for x in (sums, numbers))
    before = np.concatenate((np.zeros_like(sums[..., :1]), sums[..., :-1]), axis=-1)
    added = sums - before
    return np.cumsum((before - (sums - added)) + (numbers - added), axis=-1)


def in_two(sums: Array, lost: Array, dtype: Any) -> tuple[Array, Array]:
    """Returns float64 numbers and what rounding took from them as two of the dtype; the second is a constant for the gradient.

    Sums of many gates are large and their differences small: one float32 would lose the digits that matter.
    """
    large = sums.astype(dtype)
    plain, coarse = getattr(sums, "value", sums), getattr(large, "value", large)
    return large, ((plain - coarse) + lost).astype(dtype)


def lowered(s: Array, i: Array, j: Array, row: Array, row_rest: Array, key: Array, key_rest: Array) -> Array:
    """Returns a score, lowered by the gates between its key and its query."""
    return s + ((row - key) + (row_rest - key_rest))
