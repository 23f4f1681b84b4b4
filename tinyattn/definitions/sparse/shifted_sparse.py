"""Shifted sparse attention (S²): attention within groups of tokens, which are shifted in half of the heads."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.arguments import check_group
from tinyattn.ops.checks import whole
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def shifted_sparse_attention(q: Array, k: Array, v: Array, *, group: int, variant: str = "safe", causal: bool = True,
                             scale: float | None = None) -> Array:
    """Returns attention within groups of tokens, shifted by half a group in the second half of the heads.

    Formula: head h sees j with (i + s) // group = (j + s) // group, s = 0 for h < heads // 2, else group / 2; and j <= i if
    causal. The variant "roll" rolls the sequence by s instead, as the paper's code does: its last group joins the end
    of the sequence to the beginning, and causality follows the rolled order, so that the first group / 2 tokens see the
    last ones. It is provided for comparison.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Raises:
        TypeError, ValueError: an odd group or one below 2, an unknown variant, "roll" with q_len other than kv_len.

    Paper: Chen et al. 2023, arXiv:2309.12307.

    >>> x = np.array([[[1.0], [3.0]]] * 2)
    >>> shifted_sparse_attention(x * 0, x * 0, x, group=2)[:, :, 0]
    array([[1., 2.],
           [1., 3.]])
    """
    group = whole("group", group, 2)
    check_group(group, variant, q, k)
    heads, q_len, kv_len = q.shape[-3], q.shape[-2], k.shape[-2]
    shift = np.where(np.arange(heads) < heads // 2, 0, group // 2)[:, None, None]
    i, j = np.arange(kv_len - q_len, kv_len)[:, None], np.arange(kv_len)
    if variant == "roll":
        i, j, shift = (i - shift) % kv_len, (j - shift) % kv_len, shift * 0
    seen = (i + shift) // group == (j + shift) // group
    return attention(q, k, v, mask=seen & (j <= i) if check_causal(causal) else seen, scale=scale)
