"""Streaming attention: the same sums, one block of keys at a time, so that no row of scores ever exists whole."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import (
    Window,
    check_bias,
    check_broadcast,
    check_causal,
    check_mask,
    check_scale,
    check_sinks,
    check_softcap,
    check_window,
)
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def streaming_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                        bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                        scale: float | None = None, softcap: float | None = None,
                        sinks: Array | None = None, block: int = 128) -> Array:
    """Returns what `attention` returns, holding one block of scores at a time.

    Formula, for each block of keys with scores s and values v: m' = max(m, max s), p = exp(s - m'),
    l' = exp(m - m') l + sum p, a' = exp(m - m') a + p v; at the end out = a / l. A sink is the start (m, l) =
    (sink, 1).

    Shapes: as `attention`; memory grows with i * block, not with i * j.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: as in `attention`.
        bias: as in `attention`.
        causal: as in `attention`.
        window: as in `attention`.
        scale: as in `attention`.
        softcap: as in `attention`.
        sinks: as in `attention`.
        block: keys a block; any number from 1 gives the same result.

    Raises:
        TypeError, ValueError: as `attention`; block below 1.

    Paper: Milakov and Gimelshein 2018, arXiv:1805.02867; Rabe and Staats 2021, arXiv:2112.05682.

    >>> q, k = np.zeros((1, 2)), np.eye(2)
    >>> streaming_attention(q, k, np.array([[1.0], [3.0]]), block=1)
    array([[2.]])
    """
    if isinstance(block, bool) or not isinstance(block, (int, np.integer)):
        raise TypeError(f"block: expected an int, got {type(block).__name__}")
    if block < 1:
        raise ValueError(f"block: expected 1 or more, got {block}")
    *leading, heads, q_len, head_dim = q.shape
    kv_heads, kv_len, value_dim = k.shape[-3], k.shape[-2], v.shape[-1]
    full = (*leading, heads, q_len, kv_len)
    scale, softcap, sinks = check_scale(scale, head_dim), check_softcap(softcap), check_sinks(sinks, heads, q.dtype)
    mask, (left, right) = check_mask(mask, full), check_window(window)
    right = 0 if check_causal(causal) else right
    groups = heads // max(kv_heads, 1)
    positions = np.arange(q_len) + (kv_len - q_len)
    bias = check_bias(bias, full, q.dtype, lambda: seen_tile(mask, left, right, positions, np.arange(kv_len), full))

    rows = (q * scale).reshape(*leading, kv_heads, groups, q_len, head_dim)
    if sinks is None:
        top = np.full((*leading, heads, q_len, 1), -np.inf, q.dtype)
        total, out = np.zeros_like(top), np.zeros((*leading, heads, q_len, value_dim), q.dtype)
    else:
        top = sinks[:, None, None] + np.zeros((*leading, heads, q_len, 1), q.dtype)
        total, out = np.ones(top.shape, q.dtype), np.zeros((*leading, heads, q_len, value_dim), q.dtype)
    for start in range(0, kv_len, block):
        stop = min(start + block, kv_len)
        tile = (*leading, heads, q_len, stop - start)
        seen = seen_tile(mask, left, right, positions, np.arange(start, stop), full)
        seen = np.broadcast_to(seen, tile)
        alive = np.any(seen, axis=-1, keepdims=True).reshape(*rows.shape[:-1], 1)
        used = np.any(seen.reshape(*leading, kv_heads, groups * q_len, stop - start), axis=-2)
        keys = np.where(np.expand_dims(used, -1), k[..., start:stop, :], 0.0)
        values = np.where(np.expand_dims(used, -1), v[..., start:stop, :], 0.0)
        scores = (np.where(alive, rows, 0.0) @ keys[..., None, :, :].mT).reshape(tile)
        if softcap is not None:
            scores = np.tanh(scores / softcap) * softcap
        if isinstance(bias, Bias):
            scores = scores + bias.tile(positions, np.arange(start, stop)).astype(q.dtype)
        elif bias is not None:
            scores = scores + (bias[..., start:stop] if bias.ndim and bias.shape[-1] == kv_len else bias)
        scores = np.where(seen, scores, -np.inf)
        highest = np.maximum(top, np.max(scores, axis=-1, keepdims=True))
        # A row that has seen nothing yet stays at -inf; exp(-inf - -inf) would be NaN.
        safe = np.where(highest == -np.inf, 0.0, highest)
        with np.errstate(invalid="ignore"):
            exps, kept = np.exp(scores - safe), np.exp(np.where(top == -np.inf, -np.inf, top - safe))
        total = total * kept + np.sum(exps, axis=-1, keepdims=True)
        gained = exps.reshape(*leading, kv_heads, groups, q_len, stop - start) @ values[..., None, :, :]
        out = out * kept + gained.reshape(out.shape)
        top = highest
    result: Array = out / np.where(total == 0, 1.0, total)
    return result


def seen_tile(mask: Array | Pattern | None, left: int | None, right: int | None, q_positions: Array,
              kv_positions: Array, full: tuple[int, ...]) -> Array:
    """Returns which queries see which keys of one block, from their positions."""
    q_column = q_positions[:, None]
    seen: Array = np.ones((len(q_positions), len(kv_positions)), bool)
    if left is not None:
        seen = seen & (kv_positions >= q_column - left)
    if right is not None:
        seen = seen & (kv_positions <= q_column + right)
    if isinstance(mask, Pattern):
        shown: Array = mask.visible(q_positions, kv_positions)
        check_broadcast("mask", shown.shape, (*full[:-1], len(kv_positions)))
        return seen & shown
    if mask is not None:
        part = mask if not mask.ndim or mask.shape[-1] == 1 else mask[..., kv_positions[0] : kv_positions[-1] + 1]
        return seen & part
    return seen
