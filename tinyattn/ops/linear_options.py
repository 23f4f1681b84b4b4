"""The options that the linear family shares, checked; a state and its normaliser are kept as one matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.checks import function_or_none
from tinyattn.ops.donated import Donated
from tinyattn.ops.options import check_scale
from tinyattn.ops.signature import mapped, of_shape
from tinyattn.ops.softmax import nonzero
from tinyattn.ops.types import Array


def featured(q: Array, k: Array, feature_map: Callable[[Array], Array] | None, scale: float | None) -> tuple[Array, Array]:
    """Returns scale f(q) and f(k). Without a feature map, q and k already are features."""
    factor = check_scale(scale)
    function_or_none("feature_map", feature_map)
    if feature_map is not None:
        q, k = mapped("feature_map", feature_map, q), mapped("feature_map", feature_map, k)
    return (q if factor == 1.0 else q * factor), k


def check_state(state: Any, k: Array, v: Array, normalize: bool = False) -> Array:
    """Returns the initial state (..., kv_heads, d, e), or zeros where none is given.

    With `normalize` the caller gives the pair (state, normaliser), and the normaliser becomes one more column of the state.
    """
    shape = (*k.shape[:-2], k.shape[-1], v.shape[-1])
    if state is None:
        return np.zeros((*shape[:-1], shape[-1] + bool(normalize)), k.dtype)
    if not normalize:
        return one_state("initial_state", state, shape, k.dtype)
    summed, total = check_pair(state, k, v)
    return np.concatenate((summed, total[..., None]), axis=-1)


def check_pair(state: Any, k: Array, v: Array) -> tuple[Array, Array]:
    """Returns the initial pair (state (..., kv_heads, d, e), normaliser (..., kv_heads, d)), or zeros where none is given."""
    shape = (*k.shape[:-2], k.shape[-1], v.shape[-1])
    if state is None:
        return np.zeros(shape, k.dtype), np.zeros(shape[:-1], k.dtype)
    if not isinstance(state, tuple) or len(state) != 2:
        raise TypeError(f"initial_state: expected the pair (state, normaliser), got {type(state).__name__}")
    return (one_state("initial_state (state)", state[0], shape, k.dtype),
            one_state("initial_state (normaliser)", state[1], shape[:-1], k.dtype))


def check_sums(state: Any, k: Array, v: Array) -> tuple[Array, Array]:
    """Returns the initial pair of mesa, sums of k v^T (..., kv_heads, d, e) and of k k^T (..., kv_heads, d, d), or zeros."""
    if state is None:
        return check_state(None, k, v), check_state(None, k, k)
    if not isinstance(state, tuple) or len(state) != 2:
        raise TypeError(f"initial_state: expected the pair of the sums of k v^T and of k k^T, got {type(state).__name__}")
    shapes = [(*k.shape[:-2], k.shape[-1], width) for width in (v.shape[-1], k.shape[-1])]
    values, keys = (one_state(f"initial_state ({name})", part, shape, k.dtype)
                    for name, part, shape in zip(("k v^T", "k k^T"), state, shapes, strict=True))
    return values, keys


def check_ridge(ridge: Any, k: Array) -> Array:
    """Returns the ridge (kv_heads, d) as diagonal matrices (kv_heads, d, d); ValueError unless every number is finite and above 0."""
    checked = of_shape("ridge", ridge, (k.shape[-3], k.shape[-1])).astype(k.dtype)
    if not np.all(np.isfinite(checked) & (checked > 0)):
        raise ValueError(f"ridge: expected finite numbers above 0, without which the regression may have no solution, "
                         f"got {np.min(checked).item()} to {np.max(checked).item()}")
    return checked[..., None] * np.eye(k.shape[-1], dtype=k.dtype)


def solved(matrices: Array, columns: Array) -> Array:
    """Returns matrices^-1 columns; ValueError where the ridge was lost in the rounding of the keys and nothing else helps."""
    try:
        out: Array = np.linalg.solve(matrices, columns)
    except np.linalg.LinAlgError:
        raise ValueError(f"ridge: too small beside the keys, whose products round it away in {matrices.dtype}") from None
    return out


def one_state(name: str, state: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns an array that has exactly this shape and dtype; otherwise raises ValueError or TypeError."""
    checked = of_shape(name, state, shape)
    if checked.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {checked.dtype}")
    return checked


def still_donated(given: Any, checked: Array) -> Array:
    """Returns the state as it was checked, or as it was given where the caller gives its memory away."""
    return given if isinstance(given, Donated) else checked


def with_ones(v: Array) -> Array:
    """Returns the values with a column of ones, whose weighted sum is the total weight: (..., j, e) -> (..., j, e + 1).

    >>> with_ones(np.array([[5.0], [7.0]]))
    array([[5., 1.],
           [7., 1.]])
    """
    return np.concatenate((v, np.ones((*v.shape[:-1], 1), v.dtype)), axis=-1)


def divided(sums: Array) -> Array:
    """Returns weighted sums divided by their last column, the total weight; a row whose total weight is 0 gives 0.

    >>> divided(np.array([[6.0, 2.0], [6.0, 0.0]]))
    array([[3.],
           [6.]])
    """
    return sums[..., :-1] / nonzero(sums[..., -1:])


def state_pair(state: Array) -> tuple[Array, Array]:
    """Returns the pair (state, normaliser) from a state whose last column is its normaliser."""
    return state[..., :-1], state[..., -1]
