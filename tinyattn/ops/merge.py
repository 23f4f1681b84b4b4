"""Merging the attention to two sets of keys into one: an associative operation whose identity is (0, -inf)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.softmax import log_total, nonzero, row_shift
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# The attention to some of the keys: (out, lse).
Partial = tuple[Array, Array]


@widened
def merge(a: Partial, b: Partial) -> Partial:
    """Returns (out, lse) of the attention to the keys of both, from (out, lse) of each; differentiable in all four arrays.

    lse = log(exp(lse_a) + exp(lse_b));  out = exp(lse_a - lse) out_a + exp(lse_b - lse) out_b.
    out (..., i, e), lse (..., i), natural log. Partial results are merged without sinks; the sink is applied once, to the
    final result. arXiv:2205.14135.

    Raises:
        TypeError: an argument is not a pair of floating arrays.
        ValueError: the two have different shapes, or an lse does not have the shape of its out without the last axis.

    >>> one = np.ones((1, 2)), np.zeros(1)
    >>> nothing = np.zeros((1, 2)), np.full(1, -np.inf)
    >>> merge(one, nothing)
    (array([[1., 1.]]), array([0.]))
    """
    (out_a, lse_a), (out_b, lse_b) = check_partial("a", a), check_partial("b", b)
    if out_a.shape != out_b.shape:
        raise ValueError(f"out: expected one shape in both partials, got {out_a.shape} and {out_b.shape}")
    for lse in (lse_a, lse_b):
        of_shape("lse", lse, out_a.shape[:-1], f" beside out {out_a.shape}")
    rows = (*lse_a.shape, 1)
    lse_a, lse_b = lse_a.reshape(rows), lse_b.reshape(rows)
    shift = row_shift(np.maximum(lse_a, lse_b))
    with np.errstate(under="ignore"):
        mass_a, mass_b = np.exp(lse_a - shift), np.exp(lse_b - shift)
        total = mass_a + mass_b
        share_a, share_b = mass_a / nonzero(total), mass_b / nonzero(total)
        out = share_a.astype(out_a.dtype) * out_a + share_b.astype(out_a.dtype) * out_b
    return out, log_total(total, shift)


def check_partial(name: str, pair: Any) -> Partial:
    """Returns a pair (out, lse) of floating arrays; raises TypeError for anything else."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        count = f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""
        raise TypeError(f"{name}: expected a pair (out, lse), got {type(pair).__name__}{count}")
    out, lse = (floating(f"{name} ({part})", array) for part, array in zip(("out", "lse"), pair, strict=True))
    return out, lse
