"""One function per mechanism, which runs the kernel where that is faster and else the definition, with the same errors.

`fastest` makes each of them. Those of exact attention also have forms in NumPy that are faster than their
definitions, for calls that are too small for the kernel or where Numba is absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial, wraps
from inspect import signature
from operator import attrgetter, eq
from typing import Any, TypeVar, cast

import numpy as np

from tinyattn import definitions
from tinyattn.ops.signature import mechanism_name, shapes
from tinyattn.ops.types import Array

# With this many scores or more a kernel is faster, forward and with gradients; with fewer, calling it takes as long as the work.
KERNEL_SCORES = 4096
# A decoding step needs more scores, and heads that share their keys: with one query per key head BLAS is as fast.
DECODE_SCORES, DECODE_QUERIES = 1 << 16, 8
# Scores of a call that fit in a core's own cache; measured: 2 MiB and above cost three times as much per element.
PART_BYTES = 1 << 20
STREAM_BYTES = 1 << 26  # above this many bytes for one head's scores the streaming form is faster
# Dtypes that are computed as they are; 16-bit ones are computed in float32.
WIDE = {np.dtype(np.float32), np.dtype(np.float64)}
ARRAYS = ("q", "k", "v")
F = TypeVar("F", bound=Callable[..., Any])


def fastest(definition: F, plain: Callable[..., Any] | None = None, worth: Callable[..., bool] | None = None) -> F:
    """Returns the fastest form of a definition, with its name, signature, results and errors.

    That is its kernel where Numba is installed and the call is large enough for it, else the form in NumPy, `plain`, which is
    the definition itself unless another is given. `worth(queries, keys)` says from their shapes whether a call is large
    enough; the default is `large`. The kernel has the checks of the definition, so that every call may go to either. A second
    derivative uses the definition in place of the kernel.

    >>> fastest(definitions.delta_rule_chunked)(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 1)), beta=np.ones(1))
    array([[2.]])
    """
    enough, known = worth or large, signature(definition).parameters.keys()
    small, name = plain or definition, mechanism_name(definition)
    cores = [core.split(",")[0] for core in definition.signature.split("->")[0].strip("()").split("),(")]  # type: ignore[attr-defined]
    names = tuple(signature(definition).parameters)[: len(cores)]
    keys = next((at for at, axis in enumerate(cores) if axis != cores[0]), 0)

    @wraps(definition)
    def best(*arrays: Any, **options: Any) -> Any:
        first, read = (tuple(getattr(arrays[at] if at < len(arrays) else options.get(names[at]), "shape", ())) for at in (0, keys))
        if options.get("score") is not None and (trace := kernel("rules.tracer.check")) is not None:
            trace(options["score"])
        compiled = kernel(name) if enough(first, read) else None
        if compiled is None:
            return (small if options.keys() <= known else definition)(*arrays, **options)
        from tinyattn.engine.primitive import walking
        from tinyattn.twice import walked
        with walking(walked()):
            return compiled(*arrays, **options)

    best.__module__, best.__name__, best.__qualname__ = __name__, name, name  # where pickle finds it
    best.__doc__ = (definition.__doc__ or "").replace(definition.__name__, name)
    return cast(F, best)


def large(queries: tuple[int, ...], keys: tuple[int, ...]) -> bool:
    """Returns whether a call on arrays of these shapes is large enough for a kernel: from 4096 scores on.

    A decoding step, fewer than 8 queries, needs 65,536 and heads that share their keys.

    >>> large((4, 64, 32), (4, 64, 32)), large((4, 1, 32), (4, 64, 32))
    (True, False)
    """
    if len(queries) < 2 or len(keys) < 2:
        return False  # left for the definition to refuse
    scores = math.prod(queries[:-1]) * keys[-2]
    if queries[-2] >= DECODE_QUERIES:
        return scores >= KERNEL_SCORES
    return scores >= DECODE_SCORES and (len(keys) < len(queries) or queries[-3:-2] != keys[-3:-2])


def folds(queries: tuple[int, ...], keys: tuple[int, ...]) -> bool:
    """Returns whether a call of a linear mechanism is large enough for a kernel: from 65,536 products of keys and values on.

    >>> folds((16, 64), (16, 64)), folds((16, 8), (16, 8))
    (True, False)
    """
    return len(queries) > 1 and len(keys) > 1 and math.prod(keys) * keys[-1] >= 1 << 16


@cache
def kernel(name: str = "attention") -> Any:
    """Returns the kernel of this name; None if Numba is absent, does not work with this NumPy, or is told not to compile.

    >>> kernel("attention") is None or kernel("attention").__name__ == "attention"
    True
    """
    try:
        from tinyattn import kernels
        from tinyattn.kernels.tiles.jit import DISABLED
    except ImportError:
        return None
    return None if DISABLED else attrgetter(name)(kernels)


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
        if len(arrays) < 3:
            arrays += tuple(options.pop(name) for name in ARRAYS[len(arrays):] if name in options)
        if len(arrays) != 3 or not options.keys() <= known:
            return definition(*arrays, **options)
        q, k, v = arrays
        if plain_step(q, k, v, options) and shares(q.shape[-3], k.shape[-3]) and q.size // q.shape[-1] * k.shape[-2] < DECODE_SCORES:
            return one_query(q, k, v, definition)
        shape, kv_shape, value_shape = (tuple(getattr(x, "shape", ())) for x in arrays)
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
    return (q.ndim > 2 and q.shape[-2] == 1 and q.shape[:-3] == k.shape[:-3] and q.shape[-1] == k.shape[-1]
            and k.shape[:-1] == v.shape[:-1] and 0 not in k.shape and q.shape[-3] % k.shape[-3] == 0
            and (not options or (len(options) == 1 and options.get("causal") is True)))


@np.errstate(under="ignore")
def one_query(q: Array, k: Array, v: Array, definition: Callable[..., Any]) -> Array:
    """Returns attention in which every query sees every key, without mask, cap or bias.

    Written out, as the checks of `scores_of` and `exponentials` take as long as so small a product: a step with 4 to 8 heads and
    64 to 512 keys was measured at 1.5 to 2.3 times the time with them, and the definition at 2.7 to 8 times.

    >>> one_query(np.zeros((1, 1, 2)), np.zeros((1, 2, 2)), np.array([[[1.0], [3.0]]]), definitions.attention)
    array([[[2.]]])
    """
    (*leading, heads, _, dim), kv_heads = q.shape, k.shape[-3]
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


attention = fastest(definitions.attention, in_numpy(definitions.attention))
attention_with_lse = fastest(definitions.attention_with_lse)
axial_attention = fastest(definitions.axial_attention)
based = fastest(definitions.based, worth=folds)
bigbird_attention = fastest(definitions.bigbird_attention)
block_mixture_attention = fastest(definitions.block_mixture_attention)
block_sparse_attention = fastest(definitions.block_sparse_attention)
cosformer = fastest(definitions.cosformer, worth=folds)
deepseek_sparse_attention = fastest(definitions.deepseek_sparse_attention)
delta_rule = fastest(definitions.delta_rule, partial(definitions.delta_rule_chunked, chunk=16), folds)
contextual_position_attention = fastest(definitions.contextual_position_attention)
differential_attention = fastest(definitions.differential_attention)
dual_chunk_attention = fastest(definitions.dual_chunk_attention)
dual_chunk_attention_merged = fastest(definitions.dual_chunk_attention_merged)
dynamic_contextual_attention = fastest(definitions.dynamic_contextual_attention)
gated_attention = fastest(definitions.gated_attention)
gated_delta_rule = fastest(definitions.gated_delta_rule, partial(definitions.gated_delta_rule_chunked, chunk=16), folds)
gated_linear_attention = fastest(definitions.gated_linear_attention, worth=folds)
gathered_attention = fastest(definitions.gathered_attention)
global_subsampled_attention = fastest(definitions.global_subsampled_attention)
grouped_query_attention = fastest(definitions.grouped_query_attention, in_numpy(definitions.grouped_query_attention))
latent_attention_absorbed = fastest(definitions.latent_attention_absorbed)
latent_attention_expanded = fastest(definitions.latent_attention_expanded)
lightning_indexer = fastest(definitions.lightning_indexer)
linear_attention = fastest(definitions.linear_attention, definitions.linear_attention_chunked, folds)
linformer_attention = fastest(definitions.linformer_attention)
locally_grouped_attention = fastest(definitions.locally_grouped_attention)
log_linear_attention = fastest(definitions.log_linear_attention, worth=folds)
longformer_attention = fastest(definitions.longformer_attention)
lsh_attention = fastest(definitions.lsh_attention)
mesa = fastest(definitions.mesa, worth=folds)
multi_head_attention = fastest(definitions.multi_head_attention, in_numpy(definitions.multi_head_attention, eq))
multi_head_local_attention = fastest(definitions.multi_head_local_attention)
multi_query_attention = fastest(definitions.multi_query_attention,
                                in_numpy(definitions.multi_query_attention, lambda heads, kv_heads: kv_heads == 1))
native_sparse_attention = fastest(definitions.native_sparse_attention)
neighborhood_attention = fastest(definitions.neighborhood_attention)
nystrom_attention = fastest(definitions.nystrom_attention)
performer = fastest(definitions.performer, worth=folds)
qk_norm_attention = fastest(definitions.qk_norm_attention)
retention = fastest(definitions.retention, definitions.retention_chunked, folds)
shifted_sparse_attention = fastest(definitions.shifted_sparse_attention)
shifted_window_attention = fastest(definitions.shifted_window_attention)
simple_gated_linear_attention = fastest(definitions.simple_gated_linear_attention,
                                        definitions.simple_gated_linear_attention_chunked, folds)
softmax_off_by_one_attention = fastest(definitions.softmax_off_by_one_attention)
streaming_attention = fastest(definitions.streaming_attention, in_numpy(definitions.streaming_attention))
streaming_llm_attention = fastest(definitions.streaming_llm_attention)
tensor_product_attention = fastest(definitions.tensor_product_attention, worth=lambda *shapes: True)  # pairs, which have no shape
