"""Top-k attention: the keys are found tile by tile, and only their products are differentiated."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.chosen.largest import largest_keys
from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.sparse.picked import TOGETHER, all_picked, picked
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.kernels.tiles.storage import distances
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import (
    Window,
    check_bias,
    check_causal,
    check_mask,
    check_scale,
    check_sinks,
    check_softcap,
    visible_keys,
)
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def top_k_attention(q: Array, k: Array, v: Array, *, keep: int, mask: Array | Pattern | None = None,
                    bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                    scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which a query sees only the `keep` keys that score highest among those it may see; compiled.

    Formula: out_i = sum_j P_ij v_j, where P_i is the softmax over the `keep` largest s_ij; of equal scores the earlier key is
    kept. No gradient flows through the choice.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.top_k_attention`.

    Paper: Gupta et al. 2021, arXiv:2106.06899; Zhao et al. 2019, arXiv:1912.11637.

    >>> k = np.array([[1.0], [3.0], [2.0]])
    >>> top_k_attention(np.ones((1, 1)), k, k, keep=1)
    array([[3.]])
    """
    keep, full = whole("keep", keep, 1), (*q.shape[:-1], k.shape[-2])
    mask = check_mask(mask, full)
    left, right = sides_of(window)
    right = 0 if check_causal(causal) else right
    scale, softcap = check_scale(scale, q.shape[-1]), check_softcap(softcap)
    bias = check_bias(bias, full, q.dtype, lambda: visible_keys(mask, causal, window, full))
    sinks = check_sinks(sinks, full[-3], q.dtype)
    options = Options(mask, left, right, scale, softcap, learned=False)
    picks = largest_keys(plain(q), plain(k), min(keep, full[-1]) or 1, *biases(plain(bias), full, q.dtype), options)
    if bias is None and sinks is None and picks.size > TOGETHER:
        return picked(q, k, v, picks, scale, softcap)
    added = None if bias is None or not full[-1] else bias_of(bias, picks, full)
    return all_picked(q, k, v, picks, scale, softcap, added, sinks)


def plain(x: Any) -> Any:
    """Returns the array that a Tensor holds, and anything else as it is: the choice has no gradient."""
    return getattr(x, "value", x)


def biases(bias: Any, full: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """Returns a bias as the kernels read it: an array of pairs or None, and of a rule on distances an array of them or None."""
    heads, q_len, kv_len = full[-3:]
    return (None, plain(distances(bias, heads, q_len, kv_len, dtype))) if isinstance(bias, Bias) else (bias, None)


def bias_of(bias: Array | Bias, picks: Array, full: tuple[int, ...]) -> Array:
    """Returns the bias of the pairs that were picked: (..., heads, i, keep)."""
    heads, q_len, kv_len = full[-3:]
    picks = np.maximum(picks, 0)
    if isinstance(bias, Bias):
        distances = picks - np.arange(kv_len - q_len, kv_len)[:, None]
        table = bias.of(np.arange(1 - kv_len, q_len))
        rows = np.arange(heads)[:, None, None] if table.shape[0] > 1 else 0
        return table[rows, distances + kv_len - 1]
    return np.take_along_axis(np.broadcast_to(bias, full), picks, axis=-1)
