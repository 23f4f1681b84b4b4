"""The gates of recurrences, checked, and products of queries and keys that decay with the distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.signature import of_shape
from tinyattn.ops.types import Array


def shaped(name: str, gate: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns a gate of exactly this shape in the compute dtype, otherwise raises TypeError or ValueError.

    One that has it is returned as it is: a gate with channels is as large as the keys, and a walk back would keep the copy.
    """
    checked = of_shape(name, gate, shape)
    return checked if checked.dtype == dtype else checked.astype(dtype)


def check_gate(name: str, gate: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns a gate of exactly this shape in the compute dtype; ValueError for one that is not finite."""
    checked = shaped(name, gate, shape, dtype)
    if not np.isfinite(checked).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or inf")
    return checked


def check_strength(beta: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns the weights of squared errors, of exactly this shape; ValueError for one below 0, as larger errors would be better."""
    checked = check_gate("beta", beta, shape, dtype)
    if np.any(checked < 0):
        raise ValueError("beta: expected numbers of at least 0, as each weighs the squared error of its token")
    return checked


def check_log_decay(log_decay: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns log decays of this shape; ValueError for one above 0, with which the state would grow without bound.

    -inf is the decay 0, which clears the state.
    """
    return check_log_share("log_decay", log_decay, shape, dtype)


def check_log_share(name: str, logs: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns logs of shares of at most 1, of exactly this shape; -inf is a share of 0."""
    checked = shaped(name, logs, shape, dtype)
    if not (checked <= 0).all():
        if np.any(np.isnan(checked)):
            raise ValueError(f"{name}: expected numbers of at most 0, got NaN")
        what = "decay" if name == "log_decay" else "gate"
        raise ValueError(f"{name}: expected numbers of at most 0, the logs of {what}s of at most 1, "
                         f"got up to {np.max(checked).item()}")
    return checked


def check_channel_decay(log_decay: Any, k: Array) -> Array:
    """Returns log decays with the shape of k, or with the shape (..., kv_heads, j, 1) of one decay for all channels."""
    shared = getattr(log_decay, "shape", ())[-1:] == (1,)
    return check_log_decay(log_decay, (*k.shape[:-1], 1) if shared else k.shape, k.dtype)


def check_slopes(slopes: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns slopes of this shape; ValueError for one below 0, with which the state would grow without bound.

    inf is the decay 0, which clears the state.
    """
    checked = shaped("slopes", slopes, shape, dtype)
    if not np.all(checked >= 0):
        raise ValueError("slopes: expected numbers of at least 0, got NaN or numbers below 0")
    return checked


def behind(x: Array, count: int) -> Array:
    """Returns x (..., length, width) with `count` rows of zeros in front, so that queries line up with keys."""
    return x if not count else np.concatenate((np.zeros((*x.shape[:-2], count, x.shape[-1]), x.dtype), x), axis=-2)


def decays_between(log_decay: Array) -> Array:
    """Returns the product of the decays after token j and up to token i, (..., j, w) -> (..., i, j, w); 0 where j is after i.

    Each is the exponential of a sum of its own. The difference of two running sums would lose what a strong decay before
    both has rounded away, and is NaN where a decay is 0.

    >>> decays_between(np.log([[0.5], [0.25]]))[..., 0]
    array([[1.  , 0.  ],
           [0.25, 1.  ]])
    """
    return np.exp(log_decays_between(log_decay))


def log_decays_between(log_decay: Array) -> Array:
    """Returns the sum of the log decays after token j and up to token i, (..., j, w) -> (..., i, j, w); -inf where j is after i."""
    length = log_decay.shape[-2]
    i, j = np.arange(length)[:, None, None], np.arange(length)[:, None]
    sums = np.cumsum(np.where(i > j, log_decay[..., :, None, :], 0), axis=-3)
    return np.where(i < j, -np.inf, sums)


def decayed_products(q: Array, k: Array, fading: Array) -> Array:
    """Returns sum_d q_id k_jd fading_ijd, 0 where key j stands after query i; the last query stands at the last key.

    q (..., i, d), k (..., j, d), fading (..., i, j, w), with w = d, or w = 1 for a decay that all channels share
    -> (..., i, j).

    >>> decayed_products(np.ones((2, 1)), np.ones((2, 1)), decays_between(np.log([[0.5], [0.5]])))
    array([[1. , 0. ],
           [0.5, 1. ]])
    """
    q_len, kv_len = q.shape[-2], k.shape[-2]
    later = np.arange(kv_len) > np.arange(q_len)[:, None] + (kv_len - q_len)
    shared = fading.shape[-1] == 1
    products = (q @ k.mT) * fading[..., 0] if shared else np.sum(q[..., :, None, :] * k[..., None, :, :] * fading, axis=-1)
    return np.where(later, 0, products)  # a NaN in a key affects later queries only


def causal_values(weights: Array, values: Array) -> Array:
    """Returns weights @ values, where weights of later tokens are 0 and the last row of weights stands at the last value.

    A value that is not finite reaches the rows at and after it alone: in a product 0 times NaN would reach the others.

    >>> causal_values(np.tri(2), np.array([[1.0], [np.nan]]))
    array([[ 1.],
           [nan]])
    """
    bad = ~np.isfinite(values)
    if not np.any(bad):
        return weights @ values
    out, rows = weights @ np.where(bad, 0, values), weights.shape[-2]
    for j in np.flatnonzero(np.any(bad, axis=(*range(values.ndim - 2), -1))):
        seen = np.arange(rows)[:, None] >= j - (values.shape[-2] - rows)
        alone = np.where(bad[..., j : j + 1, :], values[..., j : j + 1, :], 0)
        out = out + np.where(seen, weights[..., j : j + 1] * alone, 0)
    return out


def check_steps(q: Array, k: Array, steps: Any, log_decay: Any) -> tuple[int, int, Array]:
    """Returns the steps per token, the position of the first query and the log decays per token, 0 where none are given.

    Raises:
        TypeError, ValueError: steps that is no int or below 1, a number of keys that it does not divide, more queries than tokens.
    """
    steps, (*lead, keys) = whole("steps", steps, 1), k.shape[:-1]
    if keys % steps:
        raise ValueError(f"k: expected a multiple of steps = {steps} keys, got shape {k.shape}")
    if q.shape[-2] > keys // steps:
        raise ValueError(f"q: expected q_len <= kv_len / steps, got q {q.shape}, k {k.shape} and steps = {steps}")
    shape = (*lead, keys // steps)
    decays = np.zeros(shape, k.dtype) if log_decay is None else check_log_decay(log_decay, shape, k.dtype)
    return steps, keys // steps - q.shape[-2], decays


def in_steps(q: Array, log_decay: Array, steps: int) -> tuple[Array, Array]:
    """Returns queries and log decays per token as those of a token's steps: it decays at the first and is read at the last.

    >>> q, log_decay = in_steps(np.ones((2, 1)), np.array([-1.0, -2.0]), 2)
    >>> q.T, log_decay
    (array([[0., 1., 0., 1.]]), array([-1.,  0., -2.,  0.]))
    """
    *lead, length, width = q.shape
    asked = np.concatenate((np.zeros((*lead, length, (steps - 1) * width), q.dtype), q), axis=-1)
    waiting = np.zeros((*log_decay.shape, steps - 1), log_decay.dtype)
    decays = np.concatenate((log_decay[..., None], waiting), axis=-1)
    return asked.reshape(*lead, length * steps, width), decays.reshape(*log_decay.shape[:-1], log_decay.shape[-1] * steps)
