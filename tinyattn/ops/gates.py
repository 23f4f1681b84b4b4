"""Gates of recurrences, checked: log decays and write strengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


def check_gate(name: str, gate: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns a gate of this very shape in the compute dtype; TypeError or ValueError if it is none."""
    gate = floating(name, gate)
    if gate.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {gate.shape}")
    if not np.all(np.isfinite(gate)):
        raise ValueError(f"{name}: expected finite numbers, got NaN or inf")
    return gate.astype(dtype)


def check_log_decay(log_decay: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns log decays of this shape; ValueError for one above 0, which would grow without bound."""
    checked = check_gate("log_decay", log_decay, shape, dtype)
    if np.any(checked > 0):
        raise ValueError("log_decay: expected numbers of at most 0, as a decay is at most 1")
    return checked


def check_matrix_state(state: Any, k: Array, v: Array) -> Array:
    """Returns the initial state (..., kv_heads, head_dim, value_dim), zeros where there is none."""
    shape = (*k.shape[:-2], k.shape[-1], v.shape[-1])
    if state is None:
        return np.zeros(shape, k.dtype)
    if floating("initial_state", state).shape != shape:
        raise ValueError(f"initial_state: expected shape {shape}, got {state.shape}")
    if state.dtype != k.dtype:
        raise TypeError(f"initial_state: expected dtype {k.dtype}, got {state.dtype}")
    checked: Array = state
    return checked


def behind(x: Array, count: int) -> Array:
    """Returns (..., length, width) with `count` rows of zeros in front: queries that stand before the first one asked."""
    return x if not count else np.concatenate((np.zeros((*x.shape[:-2], count, x.shape[-1]), x.dtype), x), axis=-2)
