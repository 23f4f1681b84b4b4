"""Tensor product attention (TPA) over the exact kernel: the sums of outer products are made first, one head after the other."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.softmax.some_heads import Form, long, options_of, some_heads
from tinyattn.ops.bias import Bias
from tinyattn.ops.factors import Factors, factored, summed
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.types import Array


@factored("(i,d),(j,d),(j,e)->(i,e)")
def tensor_product_attention(q_factors: Factors, k_factors: Factors, v_factors: Factors, *, mask: Array | Pattern | None = None,
                             bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                             scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention over queries, keys and values that are sums of outer products of two factors; compiled.

    Formula: q_hi = sum_r a_irh b_ir with the pair (a, b) of q_factors, k and v alike; out = attention(q, k, v).

    Shapes, options and errors are those of `tinyattn.definitions.tensor_product_attention`.

    Paper: Zhang et al. 2025, arXiv:2501.06425.

    >>> import numpy as np
    >>> heads, channels = np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), np.array([[[1.0]], [[3.0]]])
    >>> tensor_product_attention((0 * heads, channels), (heads, channels), (heads, channels))[..., 0]
    array([[0.5, 0.5],
           [1.5, 1.5]])
    """
    size = q_factors[0].size // q_factors[0].shape[-2] * q_factors[1].shape[-1] if q_factors[0].size else 0
    if bias is None and sinks is None and long(size, mask):
        *lead, q_len, _, heads = q_factors[0].shape
        full = (*lead, heads, q_len, k_factors[0].shape[-3])
        options = options_of(full, q_factors[1].shape[-1], mask, causal, window, scale, softcap)
        return some_heads(*q_factors, *k_factors, *v_factors, FACTORED, options, size)
    q, k, v = sums(*q_factors, *k_factors, *v_factors)
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)


def sums(*factors: Array) -> tuple[Array, Array, Array]:
    """Returns queries, keys and values of the heads that the head factors are of."""
    q, k, v = (summed(pair) for pair in zip(factors[::2], factors[1::2], strict=True))
    return q, k, v


FACTORED = Form(sums, (-1, None) * 3, sums, lambda read, *_: read)
