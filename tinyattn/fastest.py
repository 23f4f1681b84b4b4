"""One function a mechanism: the best there is for this call."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.ops.types import Array

# From this many scores on the kernel is faster, forward and with gradients: below, the call itself takes as long.
KERNEL_SCORES = 4096
# A decoding step needs more of them, and heads that share their keys: with one query a key head BLAS is as fast.
DECODE_SCORES, DECODE_QUERIES = 1 << 16, 8
# Scores of a call that fit in a core's own cache; measured: 2 MiB and above cost three times as much an element.
PART_BYTES = 1 << 20
# Above this many bytes for one head's scores the streaming form is faster.
STREAM_BYTES = 1 << 26
# What is computed in its own dtype.
WIDE = {np.dtype(np.float32), np.dtype(np.float64)}


def attention(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns `definitions.attention(q, k, v, **options)` from the form that suits the sizes.

    From 4096 scores on (65,536 in a decoding step with grouped heads) that is the kernel, where Numba is installed; in a
    smaller step of one query a head it is the bare formula. Where Numba is not, a batch is cut so that the scores of each
    part stay in the processor's cache, and where the scores of one call would take more than 64 MiB, the streaming form
    holds one block of them at a time. The kernel has a first derivative only; for a second one differentiate
    `definitions.attention`.

    Shapes and options: as `tinyattn.definitions.attention`.

    Raises:
        TypeError, ValueError: as `tinyattn.definitions.attention`.

    >>> import numpy as np
    >>> attention(np.zeros((1, 2)), np.eye(2), np.array([[1.0], [3.0]]))
    array([[2.]])
    """
    if plain_step(q, k, v, options) and q.size // q.shape[-1] * k.shape[-2] < DECODE_SCORES:
        return one_query(q, k, v)
    shape: tuple[int, ...] = getattr(q, "shape", ())
    kv_shape: tuple[int, ...] = getattr(k, "shape", ())
    value_shape: tuple[int, ...] = getattr(v, "shape", ())
    # What has no such axes, or other ones, is left for the definition to refuse by name.
    fits = len(shape) >= 3 and len(kv_shape) == len(shape) and value_shape[:-1] == kv_shape[:-1]
    scores = math.prod(shape[:-1]) * kv_shape[-2] if fits else 0
    step = fits and shape[-2] < DECODE_QUERIES
    least = KERNEL_SCORES if not step else DECODE_SCORES
    compiled = kernel() if scores >= least and not (step and shape[-3] == kv_shape[-3]) else None
    if compiled is not None:
        return compiled(q, k, v, **options)
    size = scores * q.dtype.itemsize if fits else 0
    parts = min(shape[0], -(-size // PART_BYTES)) if size else 1
    batch = len(shape) > 3 and shape[:-3] == kv_shape[:-3]
    if parts > 1 and batch and all(same_along_first(options.get(name), len(shape)) for name in ("mask", "bias")):
        cuts = [np.array_split(array, parts) for array in (q, k, v)]
        return np.concatenate([definitions.attention(*part, **options) for part in zip(*cuts, strict=True)])
    out: Array = (definitions.streaming_attention if size > STREAM_BYTES else definitions.attention)(q, k, v, **options)
    return out


def plain_step(q: Array, k: Array, v: Array, options: dict[str, Any]) -> bool:
    """Returns whether arrays (..., heads, length, dim) can be read as they are, one query a head that sees every key."""
    if not (type(q) is type(k) is type(v) is np.ndarray and q.dtype in WIDE and q.dtype == k.dtype == v.dtype):
        return False
    shape, kv_shape = q.shape, k.shape
    return (len(shape) > 2 and shape[-2] == 1 and shape[:-3] == kv_shape[:-3] and shape[-1] == kv_shape[-1]
            and kv_shape[:-1] == v.shape[:-1] and 0 not in kv_shape and shape[-3] % kv_shape[-3] == 0
            and (not options or (len(options) == 1 and options.get("causal") is True)))


@np.errstate(under="ignore")
def one_query(q: Array, k: Array, v: Array) -> Array:
    """Returns attention where every query sees every key: nothing to hide, to cap or to add.

    The formula as it stands takes half the time of the definition, whose checks cost as much as so small a product.
    """
    *leading, heads, _, dim = q.shape
    kv_heads = k.shape[-3]
    scores = (q * dim ** -0.5).reshape(*leading, kv_heads, heads // kv_heads, dim) @ k.mT
    top = scores.max(axis=-1, keepdims=True)
    if np.count_nonzero(np.isfinite(top)) < top.size:
        return definitions.attention(q, k, v)
    exps = np.exp(scores - top)
    return (exps @ v / exps.sum(axis=-1, keepdims=True)).reshape(*leading, heads, 1, v.shape[-1])


@cache
def kernel(name: str = "attention") -> Any:
    """Returns a name of `tinyattn.kernels`; None where Numba is absent, does not fit this NumPy, or is told not to compile."""
    try:
        from tinyattn import kernels
        from tinyattn.kernels.jit import DISABLED
    except ImportError:
        return None
    return None if DISABLED else getattr(kernels, name)


def attention_with_lse(q: Array, k: Array, v: Array, **options: Any) -> tuple[Array, Array]:
    """Returns `definitions.attention_with_lse(q, k, v, **options)`, from 4096 scores on by the kernel where Numba is installed."""
    compiled = kernel("attention_with_lse") if math.prod(q.shape[:-1]) * k.shape[-2] >= KERNEL_SCORES else None
    return (definitions.attention_with_lse if compiled is None else compiled)(q, k, v, **options)


def same_along_first(option: Any, ndim: int) -> bool:
    """Returns whether a mask or bias is the same for every entry of the first axis of q."""
    return option is None or (hasattr(option, "shape") and (len(option.shape) < ndim or option.shape[0] == 1))
