"""The gates of recurrences, checked, and products of queries and keys that decay with the distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.signature import of_shape
from tinyattn.ops.types import Array


def check_gate(name: str, gate: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns a gate in the compute dtype; raises TypeError or ValueError unless it has this shape and is finite."""
    gate = of_shape(name, gate, shape)
    if not np.all(np.isfinite(gate)):
        raise ValueError(f"{name}: expected finite numbers, got NaN or inf")
    return gate.astype(dtype)


def check_log_decay(log_decay: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns log decays of this shape; raises ValueError if one is above 0, as the state would grow without bound."""
    checked = check_gate("log_decay", log_decay, shape, dtype)
    if np.any(checked > 0):
        raise ValueError("log_decay: expected numbers of at most 0, as a decay is at most 1")
    return checked


def check_channel_decay(log_decay: Any, k: Array) -> Array:
    """Returns log decays with the shape of k, or with the shape (..., kv_heads, j, 1) of one decay for all channels."""
    shared = getattr(log_decay, "shape", ())[-1:] == (1,)
    return check_log_decay(log_decay, (*k.shape[:-1], 1) if shared else k.shape, k.dtype)


def behind(x: Array, count: int) -> Array:
    """Returns x (..., length, width) with `count` rows of zeros in front, so that queries line up with keys."""
    return x if not count else np.concatenate((np.zeros((*x.shape[:-2], count, x.shape[-1]), x.dtype), x), axis=-2)


def decayed_products(q: Array, k: Array, q_decay: Array, k_decay: Array) -> Array:
    """Returns sum_d q_id k_jd exp(b_id - b_jd), or 0 where key j is later than query i; the last query is at the last key.

    q (..., i, d), k (..., j, d); b are the running sums of the log decays, q_decay (..., i, w) and k_decay (..., j, w), with
    w = d, or w = 1 for a decay that all channels share -> (..., i, j).

    >>> half = np.log([[0.5], [0.25]])
    >>> decayed_products(np.ones((2, 1)), np.ones((2, 1)), half, half)
    array([[1. , 0. ],
           [0.5, 1. ]])
    """
    q_len, kv_len = q.shape[-2], k.shape[-2]
    later = np.arange(kv_len) > np.arange(q_len)[:, None] + (kv_len - q_len)
    # Later keys are hidden before exp is taken: a difference above 0 could overflow, and inf * 0 is NaN.
    faded = np.exp(np.where(later[..., None], -np.inf, q_decay[..., :, None, :] - k_decay[..., None, :, :]))
    if q_decay.shape[-1] == 1:
        return (q @ k.mT) * faded[..., 0]
    return np.sum(q[..., :, None, :] * k[..., None, :, :] * faded, axis=-1)
