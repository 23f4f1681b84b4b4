"""Gated attention: the exact kernel, then a gate."""

from __future__ import annotations

from tinyattn.kernels.softmax.around import gated
from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.arguments import check_gate_logits
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"gate": "(i)"})
def gated_attention(q: Array, k: Array, v: Array, *, gate: Array, mask: Array | Pattern | None = None,
                    bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                    scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention times the sigmoid of a gate, one number per query or one per channel; compiled.

    Formula: out = attention(q, k, v) sigmoid(gate).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), gate (..., heads, i) or
    (..., heads, i, e), logits -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.gated_attention`.

    Paper: Qiu et al. 2025, arXiv:2505.06708.

    >>> import numpy as np
    >>> gated_attention(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[4.0]]), gate=np.zeros(1))
    array([[2.]])
    """
    gate = check_gate_logits(gate, q, v)
    out = attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
    return gated(out, gate) if out.size else out
