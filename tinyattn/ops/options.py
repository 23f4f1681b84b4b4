"""The options that every softmax attention shares, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import real
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

UNBOUNDED = 1 << 60
Window = tuple[int | None, int | None]


def check_scale(scale: float | None, head_dim: int) -> float:
    """Returns the factor of the scores: the one given, or head_dim ** -0.5."""
    if scale is None:
        return float(head_dim ** -0.5)
    return real("scale", scale)


def check_softcap(softcap: float | None) -> float | None:
    """Returns the cap of the scores, or None for none."""
    return None if softcap is None else real("softcap", softcap, above=0.0)


def check_causal(causal: bool) -> bool:
    """Returns causal; TypeError unless it is a bool."""
    if not isinstance(causal, (bool, np.bool_)):
        raise TypeError(f"causal: expected a bool, got {type(causal).__name__}")
    return bool(causal)


def first_position(q: Array, k: Array) -> int:
    """Returns where the first query stands, kv_len - q_len; ValueError if that is before the first key."""
    if q.shape[-2] > k.shape[-2]:
        raise ValueError(f"q: expected q_len <= kv_len, got q {q.shape} and k {k.shape}")
    position: int = k.shape[-2] - q.shape[-2]
    return position


def check_window(window: Window | None) -> Window:
    """Returns (left, right): how many keys besides its own position a query sees on each side, None unbounded."""
    if window is None:
        return None, None
    if not isinstance(window, tuple):
        raise TypeError(f"window: expected (left, right) or None, got {type(window).__name__}")
    if len(window) != 2:
        raise ValueError(f"window: expected (left, right), got {window}")
    for side in window:
        if side is None:
            continue
        if isinstance(side, (bool, np.bool_)) or not isinstance(side, (int, np.integer)):
            raise TypeError(f"window: expected (left, right) of int or None, got {window}")
        if side < 0:
            raise ValueError(f"window: expected counts of 0 or more, got {window}")
    # Python's ints: an unsigned count would wrap around when negated, and one beyond 2^60 is no bound for any positions.
    left, right = (None if side is None or side >= UNBOUNDED else int(side) for side in window)
    return left, right


def check_sinks(sinks: Array | None, heads: int, dtype: Any) -> Array | None:
    """Returns the sinks (heads,) in the compute dtype, or None; -inf is a head without a sink, +inf is refused."""
    if sinks is None:
        return None
    sinks = floating("sinks", sinks)
    if sinks.shape != (heads,):
        raise ValueError(f"sinks: expected shape ({heads},), one logit per head of q, got shape {sinks.shape}")
    with np.errstate(over="ignore", under="ignore"):
        sinks = sinks.astype(dtype) if sinks.dtype != dtype else sinks
    if has_infinite(sinks):
        raise ValueError("sinks: expected numbers below +inf, which would leave no weight for any key")
    return sinks


def check_broadcast(name: str, shape: tuple[int, ...], full: tuple[int, ...], axes: str = "(..., heads, q_len, kv_len)") -> None:
    """Raises ValueError unless an array of this shape broadcasts to the full shape (right-aligned), whose axes are named."""
    fits = len(shape) <= len(full) and all(
        size in (1, want) for size, want in zip(shape[::-1], full[::-1], strict=False))
    if not fits:
        raise ValueError(f"{name}: expected a shape that broadcasts to {axes} = {full}, got shape {shape}")


def check_mask(mask: Array | Pattern | None, full: tuple[int, ...]) -> Array | Pattern | None:
    """Returns the mask, a boolean array that broadcasts to the full shape, or a Pattern."""
    if mask is None or isinstance(mask, Pattern):
        return mask
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = getattr(mask, "dtype", None) or type(mask).__name__
        raise TypeError(f"mask: expected a boolean array (True attends) or a Pattern, got {kind}")
    if isinstance(mask, np.ma.MaskedArray):
        raise TypeError("mask: expected a plain boolean array, got a masked array")
    check_broadcast("mask", mask.shape, full)
    return mask.view(np.ndarray)


def check_bias(bias: Array | Bias | None, full: tuple[int, ...], dtype: Any,
               visible: Callable[[], Array | None] = lambda: None) -> Array | Bias | None:
    """Returns the bias, an array that broadcasts to the full shape in the compute dtype, or a Bias.

    A bias that holds +inf comes back as an array that `infinite_settled` went through; `visible` tells which keys each
    query sees, and is only asked then.
    """
    if isinstance(bias, Bias):
        q_len, kv_len = full[-2:]
        if not has_infinite(bias.of(np.arange(1 - kv_len, q_len))):  # every distance there is, without the square
            return bias
    array = dense_bias(bias, full, dtype)
    return infinite_settled(array, visible(), full) if array is not None and has_infinite(array) else array


def dense_bias(bias: Array | Bias | None, full: tuple[int, ...], dtype: Any) -> Array | None:
    """Returns the bias as an array that broadcasts to the full shape, in the compute dtype; None for none."""
    if bias is None:
        return None
    if isinstance(bias, Bias):
        bias = bias.dense(*full[-2:])
    elif getattr(bias, "dtype", None) == np.bool_:
        raise TypeError("bias: expected a floating array that is added to the scores, got bool; did you mean mask=?")
    bias = floating("bias", bias)
    check_broadcast("bias", bias.shape, full)
    with np.errstate(over="ignore", under="ignore"):  # 1e39 is +inf in float32, as it should be
        return bias.astype(dtype) if bias.dtype != dtype else bias


def has_infinite(numbers: Array) -> bool:
    """Returns whether +inf is among the numbers."""
    return bool((numbers == np.inf).any())


def infinite_settled(bias: Array, visible: Array | None, full: tuple[int, ...]) -> Array:
    """Returns the bias in which the one +inf that a query sees has all of its weight, and the sink has none.

    Only slots that the query sees count, after broadcasting. Two or more of them stay +inf, and the row will be NaN.
    The one is replaced by a number far above any score, so that no inf - inf arises and the row still merges with others.
    """
    infinite: Array = np.atleast_1d(bias == np.inf)
    if visible is not None:
        infinite = infinite & visible
    infinite = np.broadcast_to(infinite, (*infinite.shape[:-1], full[-1]))
    alone = np.count_nonzero(infinite, axis=-1, keepdims=True) == 1
    highest = float(np.finfo(bias.dtype).max) / 8
    return np.where(alone, np.where(infinite, highest, -np.inf).astype(bias.dtype), bias)


def visible_keys(mask: Array | Pattern | None, causal: bool, window: Window | None,
                 full: tuple[int, ...]) -> Array | None:
    """Returns which keys each query sees, in the smallest shape that broadcasts to the full one; None is all.

    Query i stands at position i + kv_len - q_len, key j at j. Causal: j <= position. A window's left and right count
    keys besides the query's own.
    """
    q_len, kv_len = full[-2:]
    mask = check_mask(mask, full)
    left, right = check_window(window)
    if check_causal(causal):
        right = 0
    seen = None
    if left is not None or (right is not None and q_len - 1 + right > 0) or q_len > kv_len:
        offset = np.arange(kv_len) - np.arange(kv_len - q_len, kv_len)[:, None]  # key minus query position
        if right is not None:
            seen = offset <= right
        if left is not None:
            near = offset >= -left
            seen = near if seen is None else seen & near
    if isinstance(mask, Pattern):
        mask = mask.dense(q_len, kv_len)
        check_broadcast("mask", mask.shape, full)
    if mask is None:
        return seen
    return mask if seen is None else mask & seen


def additive(bias: Array | Bias | None, visible: Array | None, full: tuple[int, ...], dtype: Any) -> Array | None:
    """Returns the one array to add to the scores: the bias where visible, -inf where not; None for nothing."""
    bias = dense_bias(bias, full, dtype)
    if bias is not None and has_infinite(bias):
        bias = infinite_settled(bias, visible, full)
    if visible is None:
        return bias
    if bias is None:
        hidden: Array = np.where(visible, np.zeros((), dtype), np.full((), -np.inf, dtype))
        return hidden
    return np.where(visible, bias, -np.inf)


def blank_unseen(q: Array, k: Array, v: Array, visible: Array | None) -> tuple[Array, Array, Array]:
    """Returns q, k, v with 0 in every query that sees no key and every key or value that no query of its head sees.

    What lies in such a slot may be NaN or inf (an unwritten cache slot), and 0 * NaN is NaN.
    """
    if visible is None:
        return q, k, v
    kv_heads = k.shape[-3]
    visible = np.atleast_2d(visible)
    # Where every query sees the first key, and some query all keys, nothing is unseen: two looks at an edge tell.
    if not visible[..., :1].all():
        q = np.where(np.any(visible, axis=-1, keepdims=True), q, 0.0)
    if not visible[..., -1:, :].all():
        columns: Array = np.swapaxes(np.any(visible, axis=-2, keepdims=True), -1, -2)  # (..., heads, j, 1)
        if columns.ndim > 2 and columns.shape[-3] not in (1, kv_heads):
            columns = np.any(split_group(columns, kv_heads), axis=-3)
        k, v = np.where(columns, k, 0.0), np.where(columns, v, 0.0)
    return q, k, v
