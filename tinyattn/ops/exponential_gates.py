"""Exponential gates: a state is kept relative to a running maximum of the logs of its gates, so that no exponential overflows."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import shaped
from tinyattn.ops.linear_options import one_state
from tinyattn.ops.types import Array


def check_logits(input_gate: Any, forget_gate: Any, shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
    """Returns the logs of the two gates, exp(input_gate) and sigmoid(forget_gate), whose logits have this shape.

    Raises:
        TypeError: a gate is not a floating array. ValueError: it has another shape or holds NaN, or an input gate is +inf.

    >>> check_logits(np.zeros(1), np.array([np.inf]), (1,), np.float64)
    (array([0.]), array([-0.]))
    """
    wrote, kept = shaped("input_gate", input_gate, shape, dtype), shaped("forget_gate", forget_gate, shape, dtype)
    if not np.all(wrote < np.inf):
        raise ValueError("input_gate: expected numbers below +inf, got NaN or +inf")
    if np.any(np.isnan(kept)):
        raise ValueError("forget_gate: expected numbers, got NaN")
    return wrote, -np.logaddexp(0, -kept)


def check_memory(state: Any, k: Array, v: Array) -> tuple[Array, Array]:
    """Returns the state (..., kv_heads, d, e + 1), whose last column is its normaliser, and its maximum (..., kv_heads).

    The caller gives the triple (state, normaliser, maximum), or None before the first token, where the maximum is -inf.
    """
    shape = (*k.shape[:-2], k.shape[-1], v.shape[-1])
    if state is None:
        return np.zeros((*shape[:-1], shape[-1] + 1), k.dtype), np.full(shape[:-2], -np.inf, k.dtype)
    if not isinstance(state, tuple) or len(state) != 3:
        raise TypeError(f"initial_state: expected the triple (state, normaliser, maximum), got {type(state).__name__}")
    summed = one_state("initial_state (state)", state[0], shape, k.dtype)
    total = one_state("initial_state (normaliser)", state[1], shape[:-1], k.dtype)
    maximum = one_state("initial_state (maximum)", state[2], shape[:-2], k.dtype)
    if not np.all(maximum < np.inf):
        raise ValueError("initial_state (maximum): expected numbers below +inf, got NaN or +inf")
    return np.concatenate((summed, total[..., None]), axis=-1), maximum


def reference(maximum: Array) -> Array:
    """Returns the number that logs are taken relative to: the maximum, or 0 where it is -inf and nothing has been written."""
    return np.where(maximum == -np.inf, 0, maximum)


def bounded(sums: Array, maximum: Array) -> Array:
    """Returns sums / max(|total|, exp(-maximum)), where the last column of the sums is the total.

    Both sides are multiplied by exp(min(maximum, 0)), so that no exponent is above 0: exp(-maximum) alone overflows where nothing
    large has been written, and its gradient is then inf times 0. The least divisor is the smallest normal number, so that 0 / 0 is 0.

    >>> bounded(np.array([[6.0, -2.0], [6.0, 0.5], [0.0, 0.0]]), np.array([0.0, 0.0, -np.inf]))
    array([[3.],
           [6.],
           [0.]])
    """
    farthest = -float(np.log(np.finfo(sums.dtype).tiny))
    small, least = np.exp(np.minimum(maximum, 0)), np.exp(-np.minimum(np.maximum(maximum, 0), farthest))
    return sums[..., :-1] * (small / np.maximum(np.abs(sums[..., -1]) * small, least))[..., None]


def running_maximum(wrote: Array, kept: Array, before: Array) -> Array:
    """Returns m_0 = before and m_t = max(kept_t + m_{t-1}, wrote_t): (..., j), (..., j), (...) -> (..., j + 1).

    After n steps each m_t is the largest over the last 2 ** n tokens: log2(j) passes over the whole array in place of j tokens.

    >>> running_maximum(np.array([0.0, 5.0, 0.0]), np.array([-1.0, -1.0, -1.0]), np.array(3.0))
    array([3., 2., 5., 4.])
    """
    best = np.concatenate((before[..., None], wrote), axis=-1)
    decay = np.concatenate((np.zeros_like(before[..., None]), kept), axis=-1)
    reach = 1
    while reach < best.shape[-1]:
        nothing = np.full((*best.shape[:-1], reach), -np.inf, best.dtype)
        best = np.maximum(best, decay + np.concatenate((nothing, best[..., :-reach]), axis=-1))
        decay = decay + np.concatenate((np.zeros_like(nothing), decay[..., :-reach]), axis=-1)
        reach *= 2
    return best
