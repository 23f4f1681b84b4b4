"""Two attentions over different keys become one: an associative sum with identity (0, -inf)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.signature import floating
from tinyattn.ops.softmax import log_total, nonzero, row_shift
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

Partial = tuple[Array, Array]


@widened
def merge(a: Partial, b: Partial) -> Partial:
    """Returns the attention over the keys of both from (out, lse) of each; differentiable in all four.

    lse = log(exp(lse_a) + exp(lse_b));  out = exp(lse_a - lse) out_a + exp(lse_b - lse) out_b.
    out (..., i, e), lse (..., i), natural log. Partials are merged without sinks, and the sink is applied once,
    after. arXiv:2205.14135.

    Raises:
        TypeError: an argument that is not a pair of floating arrays.
        ValueError: the shapes of the two differ, or an lse does not have the shape of its out without the last axis.

    >>> one = np.ones((1, 2)), np.zeros(1)
    >>> nothing = np.zeros((1, 2)), np.full(1, -np.inf)
    >>> merge(one, nothing)
    (array([[1., 1.]]), array([0.]))
    """
    (out_a, lse_a), (out_b, lse_b) = partial("a", a), partial("b", b)
    if out_a.shape != out_b.shape:
        raise ValueError(f"out: expected one shape in both partials, got {out_a.shape} and {out_b.shape}")
    for lse in (lse_a, lse_b):
        if lse.shape != out_a.shape[:-1]:
            raise ValueError(f"lse: expected shape {out_a.shape[:-1]} beside out {out_a.shape}, got {lse.shape}")
    rows = (*lse_a.shape, 1)
    lse_a, lse_b = lse_a.reshape(rows), lse_b.reshape(rows)
    shift = row_shift(np.maximum(lse_a, lse_b))
    with np.errstate(under="ignore"):
        mass_a, mass_b = np.exp(lse_a - shift), np.exp(lse_b - shift)
        total = mass_a + mass_b
        share_a, share_b = mass_a / nonzero(total), mass_b / nonzero(total)
        out = share_a.astype(out_a.dtype) * out_a + share_b.astype(out_a.dtype) * out_b
    return out, log_total(total, shift)


def partial(name: str, pair: Any) -> Partial:
    """Returns a pair (out, lse) of floating arrays."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{name}: expected a pair (out, lse), got {type(pair).__name__}")
    out, lse = (floating(f"{name} ({part})", array) for part, array in zip(("out", "lse"), pair, strict=True))
    return out, lse
