"""One function per operation: the fastest form that there is for a call, under the name and the checks of its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from operator import attrgetter
from typing import Any, TypeVar, cast

import numpy as np

from tinyattn import definitions
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# From this many scores on the kernel is faster, forward and with gradients: below, the call itself takes as long.
KERNEL_SCORES = 4096
# A decoding step needs more of them, and heads that share their keys: with one query per key head BLAS is as fast.
DECODE_SCORES, DECODE_QUERIES = 1 << 16, 8
# Scores of a call that fit in a core's own cache; measured: 2 MiB and above cost three times as much per element.
PART_BYTES = 1 << 20
# Above this many bytes for one head's scores the streaming form is faster.
STREAM_BYTES = 1 << 26
# What is computed in its own dtype.
WIDE = {np.dtype(np.float32), np.dtype(np.float64)}
ARRAYS = ("q", "k", "v")
F = TypeVar("F", bound=Callable[..., Any])


def fastest(definition: F, shares: Callable[[int, int], bool] = lambda heads, kv_heads: True) -> F:
    """Returns the fastest form of a definition of exact attention, with its name, signature, results and errors.

    From 4096 scores on (65,536 in a decoding step with grouped heads) that is the kernel, where Numba is installed; in a
    smaller step of one query per head it is the bare formula. Without Numba a batch is cut so that the scores of each part
    stay in the processor's cache, and where the scores of one call would take more than 64 MiB, the streaming form holds
    one block of them at a time. Everything else is left to the definition, and so is every argument that it refuses.
    `shares(heads, kv_heads)` says whether the definition takes so many heads. Second and higher derivatives are those of
    the definition.
    """
    with_lse = definition is definitions.attention_with_lse
    known = set(signature(definitions.attention).parameters) - set(ARRAYS)

    @wraps(definition)
    def best(*arrays: Any, **options: Any) -> Any:
        if len(arrays) < 3:
            arrays += tuple(options.pop(name) for name in ARRAYS[len(arrays):] if name in options)
        if len(arrays) != 3 or not options.keys() <= known:
            return definition(*arrays, **options)
        q, k, v = arrays
        if not with_lse and plain_step(q, k, v, options) and shares(q.shape[-3], k.shape[-3]):
            if q.size // q.shape[-1] * k.shape[-2] < DECODE_SCORES:
                return one_query(q, k, v, definition)
        shape, kv_shape, value_shape = (tuple(getattr(x, "shape", ())) for x in arrays)
        # What has no such axes, or other ones, is left for the definition to refuse by name.
        if not (2 <= len(shape) == len(kv_shape) and value_shape[:-1] == kv_shape[:-1]):
            return definition(*arrays, **options)
        heads, kv_heads = (shape[-3], kv_shape[-3]) if len(shape) > 2 else (1, 1)
        if not shares(heads, kv_heads):
            return definition(*arrays, **options)
        scores = math.prod(shape[:-1]) * kv_shape[-2]
        step = shape[-2] < DECODE_QUERIES
        compiled = None
        if scores >= (DECODE_SCORES if step else KERNEL_SCORES) and not (step and heads == kv_heads):
            compiled = kernel_of(definition)
        if compiled is not None:
            return compiled(q, k, v, **options)
        size = scores * getattr(getattr(q, "dtype", None), "itemsize", 0)
        parts = min(shape[0], -(-size // PART_BYTES)) if len(shape) > 3 and shape[:-3] == kv_shape[:-3] else 1
        if with_lse:
            return definition(q, k, v, **options)
        if parts > 1 and all(same_along_first(options.get(name), len(shape)) for name in ("mask", "bias")):
            cuts = [np.array_split(array, parts) for array in arrays]
            return np.concatenate([definition(*part, **options) for part in zip(*cuts, strict=True)])
        return (named(definition, definitions.streaming_attention) if size > STREAM_BYTES else definition)(q, k, v, **options)

    best.__module__ = __name__  # where pickle finds it
    return cast(F, best)


def named(definition: Callable[..., Any], form: Callable[..., Any]) -> Callable[..., Any]:
    """Returns another form of a definition behind the definition's checks of its arrays, and under its name."""
    @shapes(definition.signature)  # type: ignore[attr-defined]
    @wraps(definition)
    def mechanism(q: Array, k: Array, v: Array, **options: Any) -> Any:
        return form(q, k, v, **options)

    return mechanism


@cache
def kernel_of(definition: Callable[..., Any]) -> Callable[..., Any] | None:
    """Returns the kernel of a definition of exact attention, differentiable again; None where there is no kernel."""
    exact = kernel("exact.primitive")
    if exact is None:
        return None
    from tinyattn.kernels.softmax.dot_product import solve
    primitive, with_lse = exact.attention_with_lse.again(plain_attention), definition is definitions.attention_with_lse

    def form(q: Array, k: Array, v: Array, **options: Any) -> Any:
        solved = solve(primitive, q, k, v, **options)
        return solved if with_lse else solved[0]

    return named(definition, form)


def plain_attention(q: Array, k: Array, v: Array, bias: Array | None, distance: Array | None, sinks: Array | None,
                    options: Any) -> tuple[Array, Array]:
    """Returns the definition of what the kernel's primitive computes, from the same arguments.

    `distance` (heads, q_len + kv_len - 1) is a bias that depends on key and query by their distance alone.
    """
    if distance is not None:
        q_len, kv_len = q.shape[-2], k.shape[-2]
        bias = distance[:, np.arange(q_len)[:, None] - np.arange(kv_len) + kv_len - 1]
    return definitions.attention_with_lse(q, k, v, mask=options.mask, bias=bias, window=(options.left, options.right),
                                          scale=options.scale, softcap=options.softcap, sinks=sinks)


def plain_step(q: Array, k: Array, v: Array, options: dict[str, Any]) -> bool:
    """Returns whether arrays (..., heads, length, dim) can be read as they are, one query per head that sees every key."""
    if not (type(q) is type(k) is type(v) is np.ndarray and q.dtype in WIDE and q.dtype == k.dtype == v.dtype):
        return False
    shape, kv_shape = q.shape, k.shape
    return (len(shape) > 2 and shape[-2] == 1 and shape[:-3] == kv_shape[:-3] and shape[-1] == kv_shape[-1]
            and kv_shape[:-1] == v.shape[:-1] and 0 not in kv_shape and shape[-3] % kv_shape[-3] == 0
            and (not options or (len(options) == 1 and options.get("causal") is True)))


@np.errstate(under="ignore")
def one_query(q: Array, k: Array, v: Array, definition: Callable[..., Any]) -> Array:
    """Returns attention where every query sees every key: nothing to hide, to cap or to add.

    The formula is written out. With `scores_of` and `exponentials` of ops, whose checks take as long as so small a product,
    a step with 4 to 8 heads and 64 to 512 keys was measured at 1.5 to 2.3 times the time, and the definition at 2.7 to 8 times.
    """
    *leading, heads, _, dim = q.shape
    kv_heads = k.shape[-3]
    scores = (q * dim ** -0.5).reshape(*leading, kv_heads, heads // kv_heads, dim) @ k.mT
    top = scores.max(axis=-1, keepdims=True)
    if np.count_nonzero(np.isfinite(top)) < top.size:
        out: Array = definition(q, k, v)
        return out
    exps = np.exp(scores - top)
    return (exps @ v / exps.sum(axis=-1, keepdims=True)).reshape(*leading, heads, 1, v.shape[-1])


@cache
def kernel(name: str = "attention") -> Any:
    """Returns a name of `tinyattn.kernels`; None where Numba is absent, does not fit this NumPy, or is told not to compile."""
    try:
        from tinyattn import kernels
        from tinyattn.kernels.tiles.jit import DISABLED
    except ImportError:
        return None
    return None if DISABLED else attrgetter(name)(kernels)


def same_along_first(option: Any, ndim: int) -> bool:
    """Returns whether a mask or bias is the same for every entry of the first axis of q."""
    return option is None or (hasattr(option, "shape") and (len(option.shape) < ndim or option.shape[0] == 1))


attention = fastest(definitions.attention)
attention_with_lse = fastest(definitions.attention_with_lse)
multi_head_attention = fastest(definitions.multi_head_attention, lambda heads, kv_heads: heads == kv_heads)
multi_query_attention = fastest(definitions.multi_query_attention, lambda heads, kv_heads: kv_heads == 1)
grouped_query_attention = fastest(definitions.grouped_query_attention)
streaming_attention = fastest(definitions.streaming_attention)
