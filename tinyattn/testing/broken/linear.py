"""Faults in linear attention and its states."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.gradient import slowed
from tinyattn.testing.broken.twin import twin

ROW = "linear_attention"


def with_state(out: Any, change: Any) -> Any:
    """Returns (out, state), or out alone, with `change` applied to out."""
    return (change(out[0]), out[1]) if isinstance(out, tuple) else change(out)


@twin("a_token_sees_itself", "cached_is_full", row=ROW)
def read_before_written(f: Mechanism, p: Problem) -> Any:
    """The state is read before the token is written into it."""
    if not p.options.get("causal") or p.q.shape[-2] != p.k.shape[-2] or p.q.shape[-2] == 0:
        return p.call(f)
    pad = [(0, 0)] * (p.k.ndim - 2) + [(1, 0), (0, 0)]
    return p.but(k=np.pad(p.k, pad)[..., :-1, :], v=np.pad(p.v, pad)[..., :-1, :]).call(f)


@twin("a_state_carries_all_that_came_before", row=ROW)
def initial_state_ignored(f: Mechanism, p: Problem) -> Any:
    """Every call starts from an empty state."""
    return p.but(initial_state=None).call(f)


@twin("a_state_carries_all_that_came_before", row=ROW)
def state_without_the_last_token(f: Mechanism, p: Problem) -> Any:
    """The returned state is the one before the last token."""
    out = p.call(f)
    if not isinstance(out, tuple) or p.k.shape[-2] == 0:
        return out
    earlier = p.but(q=p.q[..., :0, :], k=p.k[..., :-1, :], v=p.v[..., :-1, :]).call(f)
    return out[0], earlier[1]


@twin("equal_values_give_that_value", "a_query_has_no_length", row=ROW)
def an_epsilon_beside_the_normaliser(f: Mechanism, p: Problem) -> Any:
    """The sum of weights is increased by 0.01 before the division: small weights give small outputs."""
    if not p.options.get("normalize", True):
        return p.call(f)
    plain = p.but(normalize=False, initial_state=None, return_state=False)
    total = plain.but(v=np.ones_like(p.v[..., :1])).call(f)
    return with_state(p.call(f), lambda out: out * (total / (total + 0.01)).astype(p.q.dtype))


@twin("later_tokens_change_nothing_earlier", row=ROW)
def not_causal_within_a_chunk(f: Mechanism, p: Problem) -> Any:
    """All queries of a chunk read the state after the whole chunk."""
    return p.but(causal=False).call(f)


@twin("the_last_row_sees_all", "equals_linear_attention_recurrent", "equals_linear_attention_chunked", row=ROW)
def chunks_start_afresh(f: Mechanism, p: Problem) -> Any:
    """The state is not carried from one chunk of two tokens to the next."""
    if not p.options.get("causal") or p.q.shape[-2] != p.k.shape[-2] or p.options.get("return_state"):
        return p.call(f)
    length = p.k.shape[-2]
    parts = [p.but(q=p.q[..., s : s + 2, :], k=p.k[..., s : s + 2, :], v=p.v[..., s : s + 2, :]).call(f)
             for s in range(0, length, 2)]
    return np.concatenate(parts, axis=-2)


@twin("keys_have_no_order", "equals_squared_scores", row=ROW)
def the_past_fades(f: Mechanism, p: Problem) -> Any:
    """A decay that should be off is on: earlier keys weigh less."""
    fade = 0.9 ** np.arange(p.k.shape[-2])[::-1, None]
    return p.but(v=p.v * fade.astype(p.v.dtype)).call(f)


@twin("linear_in_the_values", row=ROW)
def state_in_low_precision(f: Mechanism, p: Problem) -> Any:
    """Values are rounded to eight bits when they are written into the state."""
    return p.but(v=np.round(p.v * 16.0) / 16.0 + 0.5 / 16.0).call(f)


@twin("a_head_reads_its_group", row=ROW)
def state_heads_tiled(f: Mechanism, p: Problem) -> Any:
    """Query head h reads the state of kv head h % kv_heads."""
    heads, kv_heads = p.q.shape[-3], p.k.shape[-3]
    order = np.argsort(np.arange(heads) % kv_heads, kind="stable")
    back = np.argsort(order, kind="stable")
    return with_state(p.but(q=p.q[..., order, :, :]).call(f), lambda out: out[..., back, :, :])


@twin("no_features_no_trace", row=ROW)
def padding_has_features(f: Mechanism, p: Problem) -> Any:
    """elu(0) + 1 is 1: padding of zeros is written into the state like any token."""
    return p.but(k=p.k + 0.5).call(f)


@twin("gradients_equal_linear_attention_recurrent", "gradients_equal_linear_attention_chunked", row=ROW)
def state_gradient_cut(f: Mechanism, p: Problem) -> Any:
    """The gradient through the state is cut: keys get half of their gradient."""
    return p.but(k=slowed(p.k, 0.5)).call(f)
