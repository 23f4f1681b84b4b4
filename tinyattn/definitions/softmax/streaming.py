"""Streaming attention: running sums over blocks of keys, so that the full matrix of scores is never stored."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import whole
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_bias, check_causal, check_mask, check_scale, check_sinks, check_softcap, check_window
from tinyattn.ops.score_rule import Score, applied, check_score, of_keys
from tinyattn.ops.signature import shapes
from tinyattn.ops.tiles import seen_tile
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def streaming_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                        bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                        scale: float | None = None, softcap: float | None = None,
                        sinks: Array | None = None, score: Score | None = None, block: int = 128) -> Array:
    """Returns what `attention` returns, holding the scores of one block of keys at a time.

    Formula, for each block of keys with scores s and values v: m' = max(m, max s), p = exp(s - m'),
    l' = exp(m - m') l + sum p, a' = exp(m - m') a + p v; at the end out = a / l. With a sink the sums
    start at (m, l) = (sink, 1).

    Shapes: as `attention`; memory grows with i * block, not with i * j.

    Options: as `attention`; `block`, the number of keys per block, does not change the result.

    Raises:
        TypeError, ValueError: as `attention`; block below 1.

    Paper: Milakov and Gimelshein 2018, arXiv:1805.02867; Rabe and Staats 2021, arXiv:2112.05682.

    >>> q, k = np.zeros((1, 2)), np.eye(2)
    >>> streaming_attention(q, k, np.array([[1.0], [3.0]]), block=1)
    array([[2.]])
    """
    block, (q_len, head_dim), (kv_heads, kv_len) = whole("block", block, 1), q.shape[-2:], k.shape[-3:-1]
    full, positions = (*q.shape[:-1], kv_len), np.arange(kv_len - q_len, kv_len)
    mask, (left, right) = check_mask(mask, full), check_window(window)
    right = 0 if check_causal(causal) else right
    queries, softcap = split_group(q * check_scale(scale, head_dim), kv_heads), check_softcap(softcap)
    rule = check_score(score, full, q.dtype)
    bias = check_bias(bias, full, q.dtype, lambda: seen_tile(mask, left, right, positions, np.arange(kv_len), full))
    sinks = check_sinks(sinks, q.shape[-3], q.dtype)

    def block_scores(at: Array) -> tuple[Array, Array]:
        """Returns the scores of the keys at these positions, -inf where hidden, and their values, 0 where no query sees them."""
        seen = np.broadcast_to(seen_tile(mask, left, right, positions, at, full), (*q.shape[:-1], len(at)))
        alive = split_group(np.any(seen, axis=-1, keepdims=True), kv_heads)
        used = np.any(split_group(seen, kv_heads), axis=(-3, -2))[..., None]
        keys, values = (np.where(used, x[..., at[0] : at[-1] + 1, :], 0.0)[..., None, :, :] for x in (k, v))
        scores = (np.where(alive, queries, 0.0) @ keys.mT).reshape(seen.shape)
        if softcap is not None:
            scores = np.tanh(scores / softcap) * softcap
        if rule is not None:
            scores = applied(of_keys(rule, at), scores, seen)
        if isinstance(bias, Bias):
            scores = scores + bias.tile(positions, at).astype(q.dtype)
        elif bias is not None:
            scores = scores + (bias[..., at[0] : at[-1] + 1] if bias.ndim and bias.shape[-1] == kv_len else bias)
        return np.where(seen, scores, -np.inf), values

    top = np.zeros((*q.shape[:-1], 1), q.dtype) + (-np.inf if sinks is None else sinks[:, None, None])
    total = np.zeros(top.shape, q.dtype) if sinks is None else np.ones(top.shape, q.dtype)
    out = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    for start in range(0, kv_len, block):
        scores, values = block_scores(np.arange(start, min(start + block, kv_len)))
        highest = np.maximum(top, np.max(scores, axis=-1, keepdims=True))
        # A row that has seen nothing yet stays at -inf; exp(-inf - -inf) would be NaN.
        safe = np.where(highest == -np.inf, 0.0, highest)
        with np.errstate(invalid="ignore"):
            exps, kept = np.exp(scores - safe), np.exp(np.where(top == -np.inf, -np.inf, top - safe))
        total = kept * total + np.sum(exps, axis=-1, keepdims=True)
        out = kept * out + (split_group(exps, kv_heads) @ values).reshape(out.shape)
        top = highest
    return out / np.where(total == 0, 1.0, total)
