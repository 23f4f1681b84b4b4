"""The options that the linear and recurrent family shares, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.checks import real
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


def positive_int(name: str, number: int) -> int:
    """Returns a count of 1 or more."""
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {type(number).__name__}")
    if number < 1:
        raise ValueError(f"{name}: expected 1 or more, got {number}")
    return int(number)


def linear_scale(scale: float | None) -> float:
    """Returns the factor of the weights: 1 unless given, unlike softmax attention's."""
    return 1.0 if scale is None else real("scale", scale)


def same_or_later(q: Array, k: Array) -> int:
    """Returns how many keys stand before the first query: kv_len - q_len; ValueError if it is negative."""
    q_len: int = q.shape[-2]
    kv_len: int = k.shape[-2]
    if q_len > kv_len:
        raise ValueError(f"q: a causal recurrence takes q_len <= kv_len, got q {q.shape} and k {k.shape}")
    return kv_len - q_len


def check_state(state: Any, q: Array, k: Array, v: Array, feature_map: Callable[[Array], Array] | None,
                normalize: bool) -> tuple[Array, Array] | None:
    """Returns the initial state as (S, z), z of zeros where there is none, or None for an empty one."""
    if state is None:
        return None
    width = k.shape[-1] if feature_map is None else feature_map(k[..., :0, :]).shape[-1]
    shape = (*k.shape[:-2], width, v.shape[-1])
    if normalize and (not isinstance(state, tuple) or len(state) != 2):
        raise TypeError(f"initial_state: expected the pair (state, normaliser), got {type(state).__name__}")
    summed, norm = state if normalize else (state, np.zeros(shape[:-1], k.dtype))
    for name, array, want in (("state", summed, shape), ("normaliser", norm, shape[:-1])):
        if floating(f"initial_state ({name})", array).shape != want:
            raise ValueError(f"initial_state: expected a {name} of shape {want}, got {array.shape}")
        if array.dtype != k.dtype:
            raise TypeError(f"initial_state: expected a {name} of dtype {k.dtype}, got {array.dtype}")
    return summed, norm
