"""Second derivatives of kernels: for each primitive, a definition that computes the same result from the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any, cast

import numpy as np

from tinyattn import definitions
from tinyattn.definitions.softmax.contextual_position import contextual_position_bias
from tinyattn.engine.primitive import walking
from tinyattn.ops.exponential_gates import bounded, reference, running_maximum
from tinyattn.ops.features import taylor_features
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import state_pair, with_ones
from tinyattn.ops.types import Array


@cache
def walked() -> Mapping[Any, Callable[..., Any]]:
    """Returns the function that second derivatives use in place of each primitive of the kernels."""
    from tinyattn.kernels.chosen import branches, keys
    from tinyattn.kernels.chosen import primitive as chosen
    from tinyattn.kernels.exact import primitive as exact
    from tinyattn.kernels.linear import mesa
    from tinyattn.kernels.softmax import by_rows, dual_chunk, sigmoid, some_heads
    from tinyattn.kernels.sparse import by_index, lsh, picked, streaming_llm
    from tinyattn.kernels.spatial import by_windows, neighborhood
    from tinyattn.kernels.states import (
        before_primitive,
        level_primitive,
        linear_primitive,
        memory_primitive,
        taylor_primitive,
    )
    from tinyattn.kernels.states import primitive as folded
    from tinyattn.kernels.states import reading_primitive as reading
    return {exact.attention_with_lse: plain_attention, chosen.chosen_attention: plain_chosen,
            branches.branched_attention: plain_branched, folded.states: plain_states,
            keys.products_of_picks: keys.products_in_numpy, keys.sum_of_picks: keys.sum_in_numpy,
            by_rows.attention_by_rows: plain_rows, lsh.hashed: plain_hashed, by_index.attention_by_index: plain_by_index,
            mesa.solution: mesa.by_chunks, reading.reading_states: plain_reading_states,
            linear_primitive.linear_states: plain_linear_states, taylor_primitive.taylor_states: plain_taylor_states,
            before_primitive.states_before: plain_states_before, memory_primitive.memory_states: plain_memory_states,
            level_primitive.level_states: plain_level_states, sigmoid.in_tiles: plain_sigmoid, streaming_llm.streamed: plain_streamed,
            **{primitive: by_other_kernels(form) for primitive, form in (
                (dual_chunk.some_heads_at_a_time, dual_chunk.one_by_one), (some_heads.some_heads, some_heads.all_heads),
                (neighborhood.attention_in_order, neighborhood.all_in_order),
                (by_windows.windowed, by_windows.all_at_once), (picked.picked, picked.all_picked))}}


def by_other_kernels(form: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a form that calls other kernels as one that second derivatives can walk: in it they are walked in turn."""
    def walkable(*arguments: Any) -> Any:
        with walking(walked()):
            return form(*arguments)

    return walkable


def plain_attention(q: Array, k: Array, v: Array, bias: Array | None, distance: Array | None, sinks: Array | None,
                    options: Any, values: Array | None = None, embedding: Array | None = None) -> tuple[Array, Array]:
    """Returns by the definition what the kernel's primitive computes from the same arguments.

    `distance` (heads, q_len + kv_len - 1) is a bias of distances, `values` are the parameters of a score rule, and
    `embedding` (positions, head_dim) holds the vectors of contextual positions.
    """
    score = None if values is None else options.rule.of(values)
    if embedding is not None:
        bias = contextual_position_bias(q, k, embedding=embedding, causal=False, mask=options.mask,
                                        window=(options.left, options.right), scale=options.scale)
    if distance is not None:
        bias = distance[:, np.arange(q.shape[-2])[:, None] - np.arange(k.shape[-2]) + k.shape[-2] - 1]
    return definitions.attention_with_lse(q, k, v, mask=options.mask, bias=bias, window=(options.left, options.right),
                                          scale=options.scale, softcap=options.softcap, sinks=sinks, score=score)


def plain_chosen(q: Array, k: Array, v: Array, choice: Any) -> Array:
    """Returns attention to chosen blocks by its definition."""
    return definitions.block_mixture_attention(q, k, v, block=choice.block, keep=choice.keep, scale=choice.scale)


def plain_branched(q: Array, k: Array, v: Array, gates: Array, choice: Any, window: int) -> Array:
    """Returns native sparse attention by its definition."""
    return definitions.native_sparse_attention(q, k, v, gates=gates, block=choice.block, selected=choice.keep, window=window,
                                               scale=choice.scale)


def plain_by_index(q: Array, k: Array, v: Array, index: Any, scale: float, _parts: Any) -> Array:
    """Returns sparse attention to the choice of an indexer by its definition."""
    return definitions.deepseek_sparse_attention(q, k, v, q_index=index.q, k_index=index.k[..., 0, :, :], weights=index.weights,
                                                 keep=index.keep, causal=index.causal, scale=scale)


def plain_hashed(x: Array, v: Array, rotations: Array, chunk: int, is_causal: bool, scale: float) -> Array:
    """Returns LSH attention by its definition."""
    return definitions.lsh_attention(x, v, rotations=rotations, chunk=chunk, causal=is_causal, scale=scale)


def plain_states(q: Array, k: Array, v: Array, log_decay: Array | None, beta: Array | None, state: Array,
                 scale: float) -> tuple[Array, Array]:
    """Returns by the definition what the kernel of states computes from the same arguments."""
    given: dict[str, Any] = {"scale": scale, "initial_state": state, "return_state": True}
    if beta is not None:
        decay = np.zeros(k.shape[:-1], k.dtype) if log_decay is None else log_decay
        solved = definitions.gated_delta_rule_chunked(q, k, v, beta=beta, log_decay=decay, **given)
    elif log_decay is None:
        solved = definitions.linear_attention_chunked(q, k, v, feature_map=None, normalize=False, causal=True, **given)
    elif log_decay.ndim < k.ndim:
        solved = definitions.simple_gated_linear_attention_chunked(q, k, v, log_decay=log_decay, **given)
    else:
        solved = definitions.gated_linear_attention_chunked(q, k, v, log_decay=log_decay, **given)
    return cast(tuple[Array, Array], solved)


def plain_reading_states(q: Array, k: Array, v: Array, log_decay: Array, read: Array | None, write: Array | None, beta: Any,
                         state: Array, scale: float) -> tuple[Array, Array]:
    """Returns by the definitions what the kernel of states of which tokens read computes from the same arguments."""
    given: dict[str, Any] = {"log_decay": log_decay, "scale": scale, "initial_state": state, "return_state": True}
    if read is None:
        solved = definitions.kimi_delta_attention_chunked(q, k, v, beta=beta, **given)
    elif beta is not None:
        solved = definitions.rwkv7_chunked(q, k, v, removal=read, rate=beta, **given)
    else:
        solved = definitions.generalized_delta_rule_chunked(q, k, v, read=read, write=k if write is None else write, **given)
    return cast(tuple[Array, Array], solved)


def plain_linear_states(q: Array, k: Array, v: Array, state: Array, total: Array, scale: float, feature: int,
                        waves: Array) -> tuple[Array, Array, Array]:
    """Returns by the definition what the kernel of linear attention computes from the same arguments."""
    from tinyattn.kernels.states.linear_primitive import features_of

    return of_features(features_of(q, feature, waves), features_of(k, feature, waves), v, state, total, scale, True)


def plain_taylor_states(q: Array, k: Array, v: Array, state: Array, total: Array, scale: float,
                        causal: bool) -> tuple[Array, Array, Array]:
    """Returns by the definition what the kernel of based computes from the same arguments."""
    return of_features(taylor_features(q), taylor_features(k), v, state, total, scale, causal)


def of_features(q: Array, k: Array, v: Array, state: Array, total: Array, scale: float, causal: bool) -> tuple[Array, Array, Array]:
    """Returns (out, last state, last total) of linear attention with these features; a total of one axis divides nothing."""
    divides = total.ndim > 1
    out, last = definitions.linear_attention_chunked(q, k, v, feature_map=None, normalize=divides, causal=causal, scale=scale,
                                                     initial_state=(state, total) if divides else state, return_state=True)
    return (out, *last) if divides else (out, last, total)


def plain_states_before(q: Array, k: Array, v: Array, log_decay: Array, bonus: Array, state: Array,
                        scale: float) -> tuple[Array, Array]:
    """Returns by the definition what the kernel of RWKV-6 computes from the same arguments."""
    return cast(tuple[Array, Array], definitions.rwkv6_chunked(q, k, v, log_decay=log_decay, bonus=bonus, scale=scale,
                                                               initial_state=state, return_state=True))


def plain_memory_states(q: Array, k: Array, v: Array, wrote: Array, kept: Array, state: Array, total: Array, maximum: Array,
                        scale: float) -> tuple[Array, Array, Array, Array]:
    """Returns what the kernel of mLSTM computes, as simple gated linear attention relative to the running maximum."""
    largest = running_maximum(wrote, kept, maximum)
    since, first = reference(largest[..., 1:]), k.shape[-2] - q.shape[-2]
    sums, last = definitions.simple_gated_linear_attention_chunked(
        q, k * np.exp(wrote - since)[..., None], with_ones(v), log_decay=np.minimum(kept + largest[..., :-1] - since, 0), scale=scale,
        initial_state=np.concatenate((state, total[..., None]), axis=-1), return_state=True)
    out = bounded(split_group(sums, k.shape[-3]), largest[..., None, first + 1 :]).reshape(*q.shape[:-1], v.shape[-1])
    return out, *state_pair(last), largest[..., -1]


def plain_level_states(q: Array, k: Array, v: Array, log_decay: Array, scales: Array, state: Array, seen: int, scale: float,
                       depth: int) -> tuple[Array, Array]:
    """Returns by the definition what the kernel of log-linear attention computes; without a depth no last states."""
    out, (last, _) = definitions.log_linear_attention(q, k, v, log_decay=log_decay, level_scales=scales, scale=scale,
                                                      initial_state=(state, seen), return_state=True)
    return out, last[..., :depth, :, :]


def plain_sigmoid(q: Array, k: Array, v: Array, shift: Array, bias: Array | None, options: Any) -> Array:
    """Returns sigmoid attention by its definition; the shift of each row is added to the bias."""
    added = shift[..., None] if bias is None else shift[..., None] + bias
    return definitions.sigmoid_attention(q, k, v, offset=0.0, bias=added + np.zeros(k.shape[-2], q.dtype), mask=options.mask,
                                         window=(options.left, options.right), scale=options.scale, softcap=options.softcap)


def plain_streamed(q: Array, k: Array, v: Array, first: int, window: int, base: float, scale: float) -> Array:
    """Returns StreamingLLM's attention by its definition."""
    return definitions.streaming_llm_attention(q, k, v, first=first, window=window, base=base, scale=scale)


def plain_rows(q: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, first: Array | None, second: Array | None,
               third: Array | None, call: Any) -> Array:
    """Returns by its definition what a mechanism computes by rows of queries."""
    definition = getattr(definitions, call.scores.definition)
    shared = {"mask": call.mask, "window": (call.left, call.right), "scale": call.scale, "softcap": call.softcap, "bias": bias,
              "sinks": sinks, **dict(zip(call.scores.names, (first, second, third), strict=False)),
              **call.scores.given(call, k.shape[-2])}
    return cast(Array, definition(q, k, v, **{name: x for name, x in shared.items() if name in signature(definition).parameters}))
