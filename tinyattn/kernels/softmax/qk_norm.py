"""QK-norm before the exact kernel."""

from __future__ import annotations

from collections.abc import Callable

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.softmax.norms import normed
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.norm import check_weight, rms_norm
from tinyattn.ops.options import Window
from tinyattn.ops.signature import mapped, shapes
from tinyattn.ops.types import Array

# That of `rms_norm`.
EPSILON = 1e-6


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def qk_norm_attention(q: Array, k: Array, v: Array, *, q_weight: Array | None = None, k_weight: Array | None = None,
                      rotate: Callable[[Array], Array] | None = None, mask: Array | Pattern | None = None,
                      bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                      scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention over queries and keys that are normalised head by head; compiled.

    Formula: out = attention(rotate(rms(q) q_weight), rotate(rms(k) k_weight), v).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); weights (d,).

    Options and errors are those of `tinyattn.definitions.qk_norm_attention`.

    Paper: Henry et al. 2020, arXiv:2010.04245; in this form: Yang et al. 2025, arXiv:2505.09388.

    >>> import numpy as np
    >>> x = np.array([[1.0, 1.0], [-2.0, -2.0]])
    >>> bool(np.allclose(qk_norm_attention(x, x, x), qk_norm_attention(10 * x, 7 * x, x)))
    True
    """
    q, k = (norm(x, check_weight(name, weight, x)) for name, weight, x in (("q_weight", q_weight, q), ("k_weight", k_weight, k)))
    if rotate is not None:
        q, k = mapped("rotate", rotate, q), mapped("rotate", rotate, k)
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)


def norm(x: Array, weight: Array | None) -> Array:
    """Returns `rms_norm(x, weight)`, in one pass where the weight has the dtype of x."""
    return normed(x, weight, EPSILON) if x.size and (weight is None or weight.dtype == x.dtype) else rms_norm(x, weight)
