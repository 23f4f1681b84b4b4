"""Faults in spans and in counted positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention, attention_with_lse, contextual_position_bias
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

SPAN, COUNT, FUSED = "dynamic_contextual_attention", "contextual_position_bias", "contextual_position_attention"


def simply(p: Problem, f: Mechanism = attention, **changes: Any) -> Any:
    """Returns attention with the problem's options, without those of these two mechanisms."""
    return f(p.q, p.k, p.v, **{**{n: x for n, x in p.options.items() if n not in ("span", "ramp", "embedding")}, **changes})


def ramped(p: Problem, span: Any) -> Any:
    """Returns m of every pair, for spans (..., i, 1) of queries or (..., 1, j) of keys."""
    q_len, kv_len = p.full()[-2:]
    distance = np.abs(np.arange(kv_len - q_len, kv_len)[:, None] - np.arange(kv_len))
    return np.clip((p.options["ramp"] + span - distance) / p.options["ramp"], 0.0, 1.0)


def log(p: Problem, m: Any) -> Any:
    """Returns the problem's bias with log m added."""
    with np.errstate(divide="ignore"):
        return (p.options.get("bias", 0.0) + np.log(m)).astype(p.q.dtype)


@twin("equals_windows", "equals_attention_with_a_bias", row=SPAN)
def distances_from_one(f: Mechanism, p: Problem) -> Any:
    """A token is at distance 1 from itself: spans are one token too short."""
    return p.but(span=np.maximum(p.options["span"] - 1.0, 0.0).astype(p.q.dtype)).call(f)


@twin("a_span_is_its_querys_own", "equals_weights_cut_afterwards", row=SPAN)
def span_of_the_key(f: Mechanism, p: Problem) -> Any:
    """The span is taken from the token that is read instead of the one that reads."""
    q_len, kv_len = p.full()[-2:]
    spans = np.pad(p.options["span"], [(0, 0)] * (p.q.ndim - 2) + [(max(kv_len - q_len, 0), 0)])[..., max(q_len - kv_len, 0) :]
    return simply(p, bias=log(p, ramped(p, spans[..., None, :])))


@twin("equals_weights_cut_afterwards", "equals_attention_with_a_bias", row=SPAN)
def not_divided_again(f: Mechanism, p: Problem) -> Any:
    """Weights are multiplied by the ramp after the softmax and not divided by their new sum."""
    whole, left = (simply(p, attention_with_lse, bias=log(p, m))[1] for m in (np.ones(1), ramped(p, p.options["span"][..., None])))
    return p.call(f) * np.exp(np.where(np.isneginf(left), 0.0, left - whole)).astype(p.q.dtype)[..., None]


@twin("equals_own_values", "equals_windows", row=SPAN)
def log_with_an_epsilon(f: Mechanism, p: Problem) -> Any:
    """The bias is log(m + 0.001), to be finite: tokens beyond a span are still read a little."""
    return simply(p, bias=log(p, ramped(p, p.options["span"][..., None]) + 1e-3))


@twin("a_wide_span_has_no_effect", row=SPAN)
def spans_of_a_table(f: Mechanism, p: Problem) -> Any:
    """The ramp is read from a table of 4 tokens, and no query sees further."""
    return p.but(span=np.minimum(p.options["span"], 4.0).astype(p.q.dtype)).call(f)


@twin("a_wide_ramp_has_no_effect", row=SPAN)
def ramp_of_a_table(f: Mechanism, p: Problem) -> Any:
    """The ramp is never wider than 4 tokens."""
    return p.but(ramp=min(p.options["ramp"], 4.0)).call(f)


@twin("gradients_equal_weights_cut_afterwards", row=SPAN)
def spans_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """A boolean mask is made of the spans, so that they have no gradient."""
    return p.but(span=stopped(p.options["span"])).call(f)


def gates(p: Problem) -> Any:
    """Returns the gates of every pair, 0 where it is hidden."""
    scale = p.options.get("scale") or p.q.shape[-1] ** -0.5
    return np.where(p.visible(), 1.0 / (1.0 + np.exp(-(p.q @ p.repeated().k.mT) * scale)), 0.0)


def counts(p: Problem) -> Any:
    """Returns the gates summed from the last key backwards."""
    return np.cumsum(gates(p)[..., ::-1], axis=-1)[..., ::-1]


def placed(p: Problem, place: Any) -> Any:
    """Returns attention with keys at these places, interpolated between two positions."""
    products, last = p.q @ p.options["embedding"].T, p.options["embedding"].shape[0] - 1
    place = np.minimum(place, last)
    low, high = (np.take_along_axis(products, f(place).astype(int), axis=-1) for f in (np.floor, np.ceil))
    return simply(p, bias=(low + (place - np.floor(place)) * (high - low)).astype(p.q.dtype))


@twin("later_tokens_change_nothing_earlier", "equals_hats", row=COUNT)
def gates_without_a_mask(f: Mechanism, p: Problem) -> Any:
    """Scores are masked and gates are not: future tokens are counted."""
    return placed(p, counts(p.but(causal=False)))


@twin("equals_embedded_distances", "equals_hats", row=COUNT)
def own_token_not_counted(f: Mechanism, p: Problem) -> Any:
    """The tokens after a key are counted and the key itself is not."""
    return placed(p, counts(p) - gates(p))


@twin("equals_embedded_distances", "equals_hats", row=COUNT)
def positions_wrap(f: Mechanism, p: Problem) -> Any:
    """Counts beyond the table start again at its beginning."""
    return placed(p, counts(p) % p.options["embedding"].shape[0])


@twin("equals_hats", row=COUNT)
def counts_rounded_down(f: Mechanism, p: Problem) -> Any:
    """Counts are rounded down instead of interpolated."""
    return placed(p, np.floor(counts(p)))


@twin("gates_of_zero_count_nothing", row=COUNT)
def counted_on_top_of_distances(f: Mechanism, p: Problem) -> Any:
    """Counts are added to plain distances, which they should replace."""
    q_len, kv_len = p.full()[-2:]
    return placed(p, counts(p) + np.maximum(np.arange(kv_len - q_len, kv_len)[:, None] - np.arange(kv_len), 0))


@twin("embeddings_of_zero_have_no_effect", row=COUNT)
def query_scaled_twice(f: Mechanism, p: Problem) -> Any:
    """The query is scaled in place for the gates, and again for the scores."""
    return p.but(q=p.q * (p.options.get("scale") or p.q.shape[-1] ** -0.5)).call(f)


@twin("gradients_equal_hats", row=COUNT)
def counts_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """Counts are used as indices, which have no gradient: only the embeddings learn."""
    same = {name: p.options[name] for name in ("causal", "mask", "window", "scale") if name in p.options}
    bias = contextual_position_bias(stopped(p.q), stopped(p.k), embedding=p.options["embedding"], **same)
    return simply(p, bias=bias)


@twin("equals_attention_with_the_bias", row=FUSED)
def counted_from_the_first_key(f: Mechanism, p: Problem) -> Any:
    """Gates are summed in the order in which keys are read, from the first one on, so that a position counts what stands before it."""
    return placed(p, np.cumsum(gates(p), axis=-1))


@twin("equals_attention_with_the_bias", row=FUSED)
def counted_anew_in_each_tile(f: Mechanism, p: Problem) -> Any:
    """A tile of two keys begins to count at 0, and the sum of the tiles to its right is not carried over."""
    g = gates(p)
    tiles = [np.cumsum(g[..., start : start + 2][..., ::-1], axis=-1)[..., ::-1] for start in range(0, g.shape[-1], 2)]
    return placed(p, np.concatenate(tiles, axis=-1)) if tiles else p.call(f)


@twin("embeddings_of_zero_have_no_effect", row=FUSED)
def scaled_for_gates_and_for_scores(f: Mechanism, p: Problem) -> Any:
    """The scores are kept from the gates, which were scaled, and scaled once more."""
    return query_scaled_twice.fault(f, p)


@twin("gradients_equal_attention_with_the_bias", row=FUSED)
def gates_get_no_gradient(f: Mechanism, p: Problem) -> Any:
    """The backward treats positions as constants: queries and keys learn from the scores alone."""
    return counts_do_not_learn.fault(f, p)
