"""Forms of exact attention in NumPy that are faster than their definitions: one query, batches in parts, long texts in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, cast

import numpy as np

from tinyattn import definitions
from tinyattn.ops.checks import shape_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# A decoding step with this many scores or more is left to the kernel, or to the definition.
DECODE_SCORES = 1 << 16
# Scores of a call that fit in a core's own cache; measured: 2 MiB and above cost three times as much per element.
PART_BYTES = 1 << 20
# Above this many bytes for one head's scores the streaming form is faster.
STREAM_BYTES = 1 << 26
# Dtypes that are computed as they are; 16-bit ones are computed in float32.
WIDE = {np.dtype(np.float32), np.dtype(np.float64)}
ARRAYS = ("q", "k", "v")
F = TypeVar("F", bound=Callable[..., Any])


def in_numpy(definition: F, shares: Callable[[int, int], bool] = lambda heads, kv_heads: True) -> F:
    """Returns the fastest form in NumPy of a definition of exact attention, with its name, results and errors.

    A small decoding step of one query per head is computed by the bare formula. A batch is cut so that the scores of each part
    stay in the processor's cache, and where the scores of one call would take more than 64 MiB, the streaming form holds one
    block of them at a time. Everything else is left to the definition, and so is every argument that it refuses. `shares(heads,
    kv_heads)` says whether the definition takes these numbers of heads.

    >>> in_numpy(definitions.attention)(np.zeros((1, 1, 2)), np.zeros((1, 2, 2)), np.array([[[1.0], [3.0]]]))
    array([[[2.]]])
    """
    known = set(signature(definitions.attention).parameters) - set(ARRAYS)
    streamed = named(definition, definitions.streaming_attention)

    def form(*arrays: Any, **options: Any) -> Any:
        rest = ARRAYS[len(arrays):]
        if len(arrays) > 3 or not set(rest) <= options.keys() <= known.union(rest):
            return definition(*arrays, **options)
        arrays += tuple(options.pop(name) for name in rest)
        q, k, v = arrays
        if plain_step(q, k, v, options) and shares(q.shape[-3], k.shape[-3]) and q.size // q.shape[-1] * k.shape[-2] < DECODE_SCORES:
            return one_query(q, k, v, definition)
        shape, kv_shape, value_shape = map(shape_of, arrays)
        # Arrays whose axes do not fit go to the definition, which refuses them by name.
        if not (2 <= len(shape) == len(kv_shape) and value_shape[:-1] == kv_shape[:-1]
                and shares(*((shape[-3], kv_shape[-3]) if len(shape) > 2 else (1, 1)))):
            return definition(*arrays, **options)
        size = math.prod(shape[:-1]) * kv_shape[-2] * getattr(getattr(q, "dtype", None), "itemsize", 0)
        parts = min(shape[0], -(-size // PART_BYTES)) if len(shape) > 3 and shape[:-3] == kv_shape[:-3] else 1
        if parts > 1 and all(same_along_first(options.get(name), len(shape)) for name in ("mask", "bias", "score")):
            cuts = [np.array_split(array, parts) for array in arrays]
            return np.concatenate([definition(*part, **options) for part in zip(*cuts, strict=True)])
        return (streamed if size > STREAM_BYTES else definition)(q, k, v, **options)

    return cast(F, form)


def named(definition: Callable[..., Any], form: Callable[..., Any]) -> Callable[..., Any]:
    """Returns another form of a definition behind the definition's checks of its arrays, and under its name.

    >>> named(definitions.attention, definitions.streaming_attention).__name__
    'attention'
    """
    @shapes(definition.signature)  # type: ignore[attr-defined]
    @wraps(definition)
    def mechanism(q: Array, k: Array, v: Array, **options: Any) -> Any:
        return form(q, k, v, **options)

    return mechanism


def plain_step(q: Array, k: Array, v: Array, options: dict[str, Any]) -> bool:
    """Returns whether arrays (..., heads, length, dim) can be read as they are, one query per head that sees every key.

    >>> [plain_step(*[np.zeros((2, 1, 8))] * 3, options) for options in ({"causal": True}, {"window": (1, 0)})]
    [True, False]
    """
    if not (type(q) is type(k) is type(v) is np.ndarray and q.dtype in WIDE and q.dtype == k.dtype == v.dtype):
        return False
    shape, kv_shape = q.shape, k.shape
    return (len(shape) > 2 and shape[-2] == 1 and shape[:-3] == kv_shape[:-3] and shape[-1] == kv_shape[-1]
            and kv_shape[:-1] == v.shape[:-1] and 0 not in kv_shape and shape[-3] % kv_shape[-3] == 0
            and (not options or (len(options) == 1 and options.get("causal") is True)))


@np.errstate(under="ignore")
def one_query(q: Array, k: Array, v: Array, definition: Callable[..., Any]) -> Array:
    """Returns attention in which every query sees every key, without mask, cap or bias.

    Written out, as the checks of `scores_of` and `exponentials` take as long as so small a product: a step with 4 to 8 heads and
    64 to 512 keys was measured at 1.5 to 2.3 times the time with them, and the definition at 2.7 to 8 times.

    >>> one_query(np.zeros((1, 1, 2)), np.zeros((1, 2, 2)), np.array([[[1.0], [3.0]]]), definitions.attention)
    array([[[2.]]])
    """
    *leading, heads, _, dim = q.shape
    kv_heads = k.shape[-3]
    scores = (q * dim ** -0.5).reshape(*leading, kv_heads, heads // kv_heads, dim) @ k.mT
    top = scores.max(axis=-1, keepdims=True)
    if np.count_nonzero(np.isfinite(top)) < top.size:
        return cast(Array, definition(q, k, v))
    exps = np.exp(scores - top)
    return (exps @ v / exps.sum(axis=-1, keepdims=True)).reshape(*leading, heads, 1, v.shape[-1])


def same_along_first(option: Any, ndim: int) -> bool:
    """Returns whether a mask or bias is the same for every entry of the first axis of q.

    >>> same_along_first(np.ones((3, 5)), 4), same_along_first(np.ones((2, 1, 3, 5)), 4)
    (True, False)
    """
    return option is None or (hasattr(option, "shape") and (len(option.shape) < ndim or option.shape[0] == 1))
