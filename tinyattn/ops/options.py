"""The options that all softmax mechanisms share, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import booleans, check_broadcast, real, truth, whole
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.pattern import Pattern, band
from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.types import Array

# A window this wide or wider is treated as unbounded: no positions are so far apart.
UNBOUNDED = 1 << 60
LEAST_CAP = float(np.finfo(np.float32).tiny)
Window = tuple[int | None, int | None]


def check_scale(scale: float | None, head_dim: int | None = None) -> float:
    """Returns the factor of the scores. Without a scale it is head_dim ** -0.5, or 1 where no head_dim is given.

    The linear family gives no head_dim.
    """
    if scale is None:
        return 1.0 if head_dim is None else float(head_dim ** -0.5)
    return real("scale", scale)


def check_softcap(softcap: float | None) -> float | None:
    """Returns the cap of the scores; None means that they are not capped."""
    # One that float32 holds: a smaller one would be 0 there, and scores are divided by it.
    return None if softcap is None else real("softcap", real("softcap", softcap, above=0.0), least=LEAST_CAP)


def check_causal(causal: bool) -> bool:
    """Returns causal; raises TypeError unless it is a bool."""
    return truth("causal", causal)


def first_position(q: Array, k: Array) -> int:
    """Returns the position of the first query, kv_len - q_len; raises ValueError if it lies before the first key."""
    if q.shape[-2] > k.shape[-2]:
        raise ValueError(f"q: expected q_len <= kv_len, got q {q.shape} and k {k.shape}")
    position: int = k.shape[-2] - q.shape[-2]
    return position


def check_window(window: Window | None) -> Window:
    """Returns (left, right): the number of keys that a query sees on each side of its own position; None is unbounded."""
    if window is None:
        return None, None
    if not isinstance(window, tuple):
        raise TypeError(f"window: expected (left, right) or None, got {type(window).__name__}")
    if len(window) != 2:
        raise ValueError(f"window: expected (left, right), got {window}")
    # Python's ints, because an unsigned count would wrap around when negated.
    left, right = (None if side is None else whole(f"window ({name})", side, 0, None)
                   for name, side in zip(("left", "right"), window, strict=True))
    return None if left is None or left >= UNBOUNDED else left, None if right is None or right >= UNBOUNDED else right


def check_sinks(sinks: Array | None, heads: int, dtype: Any) -> Array | None:
    """Returns the sinks (heads,) in the compute dtype, or None. -inf means that a head has no sink; +inf is refused."""
    if sinks is None:
        return None
    sinks = of_shape("sinks", sinks, (heads,), ", one logit per head of q")
    with np.errstate(over="ignore", under="ignore"):
        sinks = sinks.astype(dtype) if sinks.dtype != dtype else sinks
    if has_infinite(sinks):
        raise ValueError("sinks: expected numbers below +inf, which would leave no weight for any key")
    return sinks


def check_mask(mask: Array | Pattern | None, full: tuple[int, ...]) -> Array | Pattern | None:
    """Returns the mask: None, a Pattern, or a boolean array that broadcasts to the full shape."""
    if mask is None or isinstance(mask, Pattern):
        return mask
    if callable(mask):
        raise TypeError("mask: expected a boolean array (True attends) or a Pattern, got a function; calling it makes a Pattern, "
                        "as in causal()")
    mask = booleans("mask", mask, "a boolean array (True attends) or a Pattern")
    check_broadcast("mask", mask.shape, full)
    return mask


def check_bias(bias: Array | Bias | None, full: tuple[int, ...], dtype: Any,
               visible: Callable[[], Array | None] = lambda: None) -> Array | Bias | None:
    """Returns the bias: None, a Bias, or an array in the compute dtype that broadcasts to the full shape.

    A bias that holds +inf is returned as the array that `infinite_settled` makes of it. `visible` returns which keys each
    query sees; it is called only in that case.
    """
    if isinstance(bias, Bias):
        q_len, kv_len = full[-2:]
        numbers = bias.of(np.arange(1 - kv_len, q_len))  # of all distances that occur, without a square array
        check_broadcast("bias", (*np.shape(numbers)[:-1], q_len, kv_len), full)
        if not has_infinite(numbers):
            return bias
    array = dense_bias(bias, full, dtype)
    return infinite_settled(array, visible(), full) if array is not None and has_infinite(array) else array


def dense_bias(bias: Array | Bias | None, full: tuple[int, ...], dtype: Any) -> Array | None:
    """Returns the bias as an array in the compute dtype that broadcasts to the full shape, or None where there is no bias."""
    if bias is None:
        return None
    if isinstance(bias, Bias):
        bias = bias.dense(*full[-2:])
    elif getattr(bias, "dtype", None) == np.bool_:
        raise TypeError("bias: expected a floating array that is added to the scores, got bool; did you mean mask=?")
    bias = floating("bias", bias)
    check_broadcast("bias", bias.shape, full)
    with np.errstate(over="ignore", under="ignore"):  # 1e39 becomes +inf in float32, which is intended
        return bias.astype(dtype) if bias.dtype != dtype else bias


def has_infinite(numbers: Array) -> bool:
    """Returns whether any of the numbers is +inf."""
    return bool((numbers == np.inf).any())


def infinite_settled(bias: Array, visible: Array | None, full: tuple[int, ...]) -> Array:
    """Returns the bias changed so that a key whose bias is +inf takes all of the weight of a query, the sink's included.

    This holds if the query sees exactly one such key. Its +inf is replaced by a number far above any score, so that no
    inf - inf arises and the row can still be merged with others. If a query sees two or more, they stay +inf and the row
    becomes NaN.
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
    """Returns which keys each query sees, in the smallest shape that broadcasts to the full shape; None means all keys.

    Query i has the position i + kv_len - q_len, key j the position j. With `causal` a query sees no later key. The window
    counts keys besides the query's own.
    """
    q_len, kv_len = full[-2:]
    mask = check_mask(mask, full)
    left, right = check_window(window)
    if check_causal(causal):
        right = 0
    seen = None
    if left is not None or (right is not None and q_len > 1):  # a single query has no later keys
        seen = band(np.arange(kv_len - q_len, kv_len)[:, None], np.arange(kv_len), left, right)
    if isinstance(mask, Pattern):
        mask = mask.dense(q_len, kv_len)
        check_broadcast("mask", mask.shape, full)
    if mask is None:
        return seen
    return mask if seen is None else mask & seen


def count_visible(visible: Array | None, full: tuple[int, ...], dtype: Any) -> Array:
    """Returns the number of keys that each query sees, in the smallest shape that broadcasts to (..., heads, q_len, 1).

    >>> count_visible(np.tri(2, dtype=bool), (1, 2, 2), np.float64)[:, 0]
    array([1., 2.])
    """
    if visible is None:
        return np.full((1, 1), full[-1], dtype)
    seen = np.broadcast_to(visible, (*np.atleast_2d(visible).shape[:-1], full[-1]))
    counts: Array = seen.sum(axis=-1, keepdims=True, dtype=dtype)
    return counts


def additive(bias: Array | Bias | None, visible: Array | None, full: tuple[int, ...], dtype: Any) -> Array | None:
    """Returns the array to add to the scores: the bias where visible, -inf elsewhere. None means that nothing is added."""
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
    """Returns q, k, v with zeros in queries that see no key, and in keys and values that no query of their head sees.

    Such a slot may hold NaN or inf (a cache slot that was never written), and 0 * NaN is NaN.
    """
    if visible is None:
        return q, k, v
    kv_heads = k.shape[-3]
    visible = np.atleast_2d(visible)
    # Checking the first key and the last query is enough: if every query sees the first key, no query is without a key,
    # and if the last query sees all keys, no key is unseen.
    if not visible[..., :1].all():
        q = np.where(np.any(visible, axis=-1, keepdims=True), q, 0.0)
    if not visible[..., -1:, :].all():
        columns: Array = np.swapaxes(np.any(visible, axis=-2, keepdims=True), -1, -2)  # (..., heads, j, 1)
        if columns.ndim > 2 and columns.shape[-3] not in (1, kv_heads):
            columns = np.any(split_group(columns, kv_heads), axis=-3)
        k, v = np.where(columns, k, 0.0), np.where(columns, v, 0.0)
    return q, k, v
