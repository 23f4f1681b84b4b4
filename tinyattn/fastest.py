"""One function per mechanism, which runs the kernel where that is faster and otherwise the definition, with the same errors.

The function `fastest` makes each of them. Exact attention also has a form in plain NumPy, `in_numpy`, for calls that are too small
for the kernel and for machines without Numba.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial, wraps
from inspect import signature
from operator import attrgetter
from typing import Any, TypeVar, cast

import numpy as np  # noqa: F401 - the examples of the definitions, which are also those of their fastest forms, call it so

from tinyattn import definitions
from tinyattn.in_numpy import DECODE_SCORES, in_numpy
from tinyattn.ops import convolution
from tinyattn.ops.checks import shape_of
from tinyattn.ops.signature import mechanism_name

# With this many scores or more a kernel is faster, forward and with gradients; with fewer, calling it takes as long as the work.
KERNEL_SCORES = 4096
# Fewer queries are a decoding step, which needs more scores, and heads that share their keys: with one query per key head BLAS is
# as fast.
DECODE_QUERIES = 8
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
        first, read = [shape_of(arrays[at] if at < len(arrays) else options.get(names[at])) for at in (0, keys)]
        compiled = kernel(name) if enough(first, read) else None
        if compiled is None:
            form = small if options.keys() <= known else definition
            return form(*arrays, **options) if options.get("score") is None else _with_rule(form, arrays, options)
        walking, walked = _walks()
        with walking(walked):
            return compiled(*arrays, **options)

    best.__module__, best.__name__, best.__qualname__ = __name__, name, name  # where pickle finds it
    best.__doc__ = (definition.__doc__ or "").replace(definition.__name__, name)
    return cast(F, best)


def _with_rule(form: Callable[..., Any], arrays: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Returns what a form gives for a score rule; what a kernel would refuse of a rule is refused here too, whatever the size.

    A kernel looks at its rule after the arguments that are checked before it, and so an error that names another comes first.
    """
    trace = kernel("rules.tracer.check")
    try:
        out = form(*arrays, **options)
    except (TypeError, ValueError) as error:
        if trace is not None and str(error).startswith("score: "):
            trace(options["score"])
        raise
    if trace is not None:
        trace(options["score"])
    return out


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
    shared = len(keys) < len(queries) or queries[-3:-2] != keys[-3:-2]
    return scores >= DECODE_SCORES and shared


def long(queries: tuple[int, ...], keys: tuple[int, ...]) -> bool:
    """Returns whether a large call has 64 queries or keys, for a kernel that takes every key head by itself.

    Of shorter texts the definition takes all heads at once: 64 heads of 28 tokens in a fifth to a third of the time.

    >>> long((2, 64, 32), (2, 64, 32)), long((64, 28, 32), (64, 28, 32))
    (True, False)
    """
    return large(queries, keys) and max(queries[-2], keys[-2]) >= 64


def folds(queries: tuple[int, ...], keys: tuple[int, ...]) -> bool:
    """Returns whether a call of a linear mechanism is large enough for a kernel: from 65,536 products of keys and values on.

    >>> folds((16, 64), (16, 64)), folds((16, 8), (16, 8))
    (True, False)
    """
    return len(queries) > 1 and len(keys) > 1 and math.prod(keys) * keys[-1] >= 1 << 16


def chunks(queries: tuple[int, ...], keys: tuple[int, ...]) -> bool:
    """Returns whether there are enough keys for a kernel that reads chunks of them where the definition loops over keys: 32.

    >>> chunks((4, 1, 16), (2, 32, 16)), chunks((4, 1, 16), (2, 8, 16))
    (True, False)
    """
    return len(queries) > 1 and len(keys) > 1 and keys[-2] >= 32


@cache
def _walks() -> tuple[Any, Any]:
    """Returns the context in which kernels are called, and what second derivatives walk in it.

    To name an import inside a call costs a microsecond, a twentieth of a step on a state.
    """
    from tinyattn.engine.primitive import walking
    from tinyattn.twice import walked
    return walking, walked()


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


attention = fastest(definitions.attention, in_numpy(definitions.attention))
attention_with_lse = fastest(definitions.attention_with_lse)
axial_attention = fastest(definitions.axial_attention)
based = fastest(definitions.based, worth=folds)
bigbird_attention = fastest(definitions.bigbird_attention)
block_mixture_attention = fastest(definitions.block_mixture_attention)
block_sparse_attention = fastest(definitions.block_sparse_attention)
causal_convolution = fastest(definitions.causal_convolution, convolution.causal_convolution, folds)
cosformer = fastest(definitions.cosformer, worth=folds)
delta_rule = fastest(definitions.delta_rule, partial(definitions.delta_rule_chunked, chunk=16), folds)
contextual_position_attention = fastest(definitions.contextual_position_attention)
cosine_attention = fastest(definitions.cosine_attention)
deepseek_sparse_attention = fastest(definitions.deepseek_sparse_attention)
delta_product = fastest(definitions.delta_product, partial(definitions.delta_product_chunked, chunk=16), folds)
differential_attention = fastest(definitions.differential_attention)
disentangled_attention = fastest(definitions.disentangled_attention, worth=long)
dual_chunk_attention = fastest(definitions.dual_chunk_attention)
dual_chunk_attention_merged = fastest(definitions.dual_chunk_attention_merged)
dynamic_contextual_attention = fastest(definitions.dynamic_contextual_attention)
entmax_attention = fastest(definitions.entmax_attention, worth=long)
forgetting_attention = fastest(definitions.forgetting_attention)
gated_attention = fastest(definitions.gated_attention)
gated_delta_rule = fastest(definitions.gated_delta_rule, partial(definitions.gated_delta_rule_chunked, chunk=16), folds)
gated_linear_attention = fastest(definitions.gated_linear_attention, worth=folds)
gathered_attention = fastest(definitions.gathered_attention)
generalized_delta_rule = fastest(definitions.generalized_delta_rule, definitions.generalized_delta_rule_chunked, folds)
global_subsampled_attention = fastest(definitions.global_subsampled_attention)
grouped_query_attention = fastest(definitions.grouped_query_attention, in_numpy(definitions.grouped_query_attention))
kimi_delta_attention = fastest(definitions.kimi_delta_attention, definitions.kimi_delta_attention_chunked, folds)
latent_attention_absorbed = fastest(definitions.latent_attention_absorbed)
latent_attention_expanded = fastest(definitions.latent_attention_expanded)
lightning_attention = fastest(definitions.lightning_attention, definitions.lightning_attention_chunked, folds)
lightning_indexer = fastest(definitions.lightning_indexer)
linear_attention = fastest(definitions.linear_attention, definitions.linear_attention_chunked, folds)
linformer_attention = fastest(definitions.linformer_attention)
locally_grouped_attention = fastest(definitions.locally_grouped_attention)
log_linear_attention = fastest(definitions.log_linear_attention, worth=folds)
longformer_attention = fastest(definitions.longformer_attention)
lsh_attention = fastest(definitions.lsh_attention)
mesa = fastest(definitions.mesa, worth=folds)
mlstm = fastest(definitions.mlstm, definitions.mlstm_chunked, folds)
multi_head_attention = fastest(definitions.multi_head_attention,
                               in_numpy(definitions.multi_head_attention, lambda heads, kv_heads: heads == kv_heads))
multi_head_local_attention = fastest(definitions.multi_head_local_attention)
multi_query_attention = fastest(definitions.multi_query_attention,
                                in_numpy(definitions.multi_query_attention, lambda heads, kv_heads: kv_heads == 1))
native_sparse_attention = fastest(definitions.native_sparse_attention)
neighborhood_attention = fastest(definitions.neighborhood_attention)
nystrom_attention = fastest(definitions.nystrom_attention)
path_attention = fastest(definitions.path_attention, worth=chunks)
performer = fastest(definitions.performer, worth=folds)
qk_norm_attention = fastest(definitions.qk_norm_attention)
relative_position_attention = fastest(definitions.relative_position_attention, worth=long)
retention = fastest(definitions.retention, definitions.retention_chunked, folds)
scalable_softmax_attention = fastest(definitions.scalable_softmax_attention)
rwkv7 = fastest(definitions.rwkv7, definitions.rwkv7_chunked, folds)
rwkv6 = fastest(definitions.rwkv6, definitions.rwkv6_chunked, folds)
shifted_sparse_attention = fastest(definitions.shifted_sparse_attention)
shifted_window_attention = fastest(definitions.shifted_window_attention)
sigmoid_attention = fastest(definitions.sigmoid_attention)
simple_gated_linear_attention = fastest(definitions.simple_gated_linear_attention,
                                        definitions.simple_gated_linear_attention_chunked, folds)
softmax_off_by_one_attention = fastest(definitions.softmax_off_by_one_attention)
sparsemax_attention = fastest(definitions.sparsemax_attention, worth=long)
stick_breaking_attention = fastest(definitions.stick_breaking_attention, worth=long)
stick_breaking_attention_with_rest = fastest(definitions.stick_breaking_attention_with_rest, worth=long)
streaming_attention = fastest(definitions.streaming_attention, in_numpy(definitions.streaming_attention))
streaming_llm_attention = fastest(definitions.streaming_llm_attention)
tensor_product_attention = fastest(definitions.tensor_product_attention, worth=lambda *shapes: True)  # pairs, which have no shape
talking_heads_attention = fastest(definitions.talking_heads_attention, worth=long)
top_k_attention = fastest(definitions.top_k_attention)
