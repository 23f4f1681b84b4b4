"""Multi-head, multi-query, grouped-query attention: how many query heads share one head of keys and values."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, additive, blank_unseen, check_scale, check_sinks, check_softcap, visible_keys
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


def capped(scores: Array, softcap: float | None) -> Array:
    """Returns softcap tanh(scores / softcap), or the scores where there is no cap."""
    return scores if softcap is None else softcap * np.tanh(scores / softcap)


def prepare(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None, bias: Array | Bias | None, causal: bool,
            window: Window | None, scale: float | None, softcap: float | None,
            sinks: Array | None) -> tuple[Array | None, Array | None, float, float | None, tuple[Array, ...]]:
    """Returns what to add to the scores, sinks, scale and softcap, checked, and q, k, v with unseen slots blanked."""
    full = (*q.shape[:-1], k.shape[-2])
    visible = visible_keys(mask, causal, window, full)
    shown = additive(bias, visible, full, q.dtype)
    sinks = check_sinks(sinks, q.shape[-3], q.dtype)
    return shown, sinks, check_scale(scale, q.shape[-1]), check_softcap(softcap), blank_unseen(q, k, v, visible)


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_head_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                         bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                         scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which every query head has keys and values of its own.

    Formula: out_h = softmax(scale q_h k_h^T) v_h, with the options of `attention`.

    Shapes: q (..., heads, i, d), k (..., heads, j, d), v (..., heads, j, e) -> (..., heads, i, e).

    Raises:
        ValueError: kv_heads is not heads; otherwise as `attention`.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> x = np.ones((4, 3, 2))
    >>> multi_head_attention(x, x, x).shape
    (4, 3, 2)
    """
    heads, kv_heads = q.shape[-3], k.shape[-3]
    if heads != kv_heads:
        raise ValueError(f"k: expected {heads} kv_heads, one for each head of q {q.shape}, got shape {k.shape}; "
                         f"grouped_query_attention shares them")
    shown, sinks, scale, softcap, (q, k, v) = prepare(
        q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
    scores = capped(q @ k.mT * scale, softcap)
    weights = softmax(scores if shown is None else scores + shown, sinks=sinks)
    return weights @ v


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_query_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                          bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                          scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which all query heads read one head of keys and values.

    Formula: out_h = softmax(scale q_h k^T) v: the rows of all heads are queries of a single head.

    Shapes: q (..., heads, i, d), k (..., 1, j, d), v (..., 1, j, e) -> (..., heads, i, e).

    Raises:
        ValueError: kv_heads is not 1; otherwise as `attention`.

    Paper: Shazeer 2019, arXiv:1911.02150.

    >>> q, k = np.ones((4, 3, 2)), np.ones((1, 3, 2))
    >>> multi_query_attention(q, k, k).shape
    (4, 3, 2)
    """
    if k.shape[-3] != 1:
        raise ValueError(f"k: expected 1 kv_head, shared by all heads of q {q.shape}, got shape {k.shape}; "
                         f"grouped_query_attention takes several")
    shown, sinks, scale, softcap, (q, k, v) = prepare(
        q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
    *leading, heads, q_len, head_dim = q.shape
    rows = q.reshape(*leading, heads * q_len, head_dim) @ k[..., 0, :, :].mT
    scores = capped(rows.reshape(*leading, heads, q_len, k.shape[-2]) * scale, softcap)
    weights = softmax(scores if shown is None else scores + shown, sinks=sinks)
    out = weights.reshape(*leading, heads * q_len, k.shape[-2]) @ v[..., 0, :, :]
    return out.reshape(*leading, heads, q_len, v.shape[-1])


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def grouped_query_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                            bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which heads // kv_heads neighbouring query heads read one head of keys and values.

    Formula: out_gr = softmax(scale q_gr k_g^T) v_g for head h = g groups + r.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Raises:
        ValueError: kv_heads does not divide heads; otherwise as `attention`.

    Paper: Ainslie et al. 2023, arXiv:2305.13245.

    >>> q, k = np.ones((4, 3, 2)), np.ones((2, 3, 2))
    >>> grouped_query_attention(q, k, k).shape
    (4, 3, 2)
    """
    shown, sinks, scale, softcap, (q, k, v) = prepare(
        q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
    heads, kv_heads = q.shape[-3], k.shape[-3]
    grouped = split_group(q, kv_heads) @ k[..., None, :, :].mT  # (..., kv_heads, groups, i, j)
    scores = capped(grouped.reshape(*q.shape[:-1], k.shape[-2]) * scale, softcap)
    weights = softmax(scores if shown is None else scores + shown, sinks=sinks)
    out = split_group(weights, kv_heads) @ v[..., None, :, :]
    return out.reshape(*out.shape[:-4], heads, *out.shape[-2:])
