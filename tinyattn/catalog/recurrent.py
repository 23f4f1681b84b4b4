"""Rows of recurrences, whose state decays or is corrected by each token."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.state import StateCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import STATE
from tinyattn.catalog.row import Paper, Row
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import linear as draw
from tinyattn.laws.draw.options import but, long
from tinyattn.laws.forms import agrees
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.oracles import linear as oracles
from tinyattn.laws.oracles.calls import own_values, taking
from tinyattn.laws.problem import Mechanism
from tinyattn.laws.recurrent import form_laws, forms, recurrence_laws, strong_decay, waits
from tinyattn.layers.inputs import Input, log_sigmoid
from tinyattn.ops.activation import sigmoid

DECAY = Input.of(definitions.simple_gated_linear_attention, "log_decay", log_sigmoid, 4.0)
DECAY_PER_CHANNEL = Input.of(definitions.gated_linear_attention, "log_decay", log_sigmoid, 4.0)
STRENGTH = Input.of(definitions.delta_rule, "beta", sigmoid, 0.0)
RECALL = but(long(draw.BETA), draw.recall)


def recurrence(*, name: str, draw: Draw, laws: tuple[Law, ...], mixer: Mechanism | None = None, **fields: Any) -> Row:
    """Returns the row of a recurrence: its forms and their laws beside its own, and a state as its cache."""
    known = forms(name)
    chunked = known["chunked"]
    return Row(name=name, definition=getattr(definitions, name), kind="exact", cost="heads i d e", sample=draw,
               laws=(*form_laws(name, draw), cached(partial(StateCache, chunked), long(draw)), *laws, *recurrence_laws(draw)),
               forms=known, mixer=calls.always_causal(mixer or chunked), cache=partial(StateCache, mixer or chunked),
               cache_size=STATE, **fields)


ROWS = (
    recurrence(
        name="gated_linear_attention",
        says="The state decays per channel, by a factor that each token sets.",
        papers=(Paper("Yang et al.", 2023, "2312.06635"),), aliases=("gla",),
        draw=draw.CHANNELS,
        laws=(agrees("simple_gated_linear_attention", oracles.one_decay_per_token, to="simple_gated_linear_attention",
                     draw=but(draw.CHANNELS, draw.with_decay(draw.equal_channels)),
                     says="With the same decay in every channel it is simple gated linear attention."),
              strong_decay("gated_linear_attention", draw.CHANNELS), waits(draw.CHANNELS)),
        bad_inputs=(refused.GROWING_DECAY, refused.SCALE), inputs=(DECAY_PER_CHANNEL,),
        mixer=partial(definitions.gated_linear_attention_chunked, chunk=calls.CHUNK)),
    recurrence(
        name="simple_gated_linear_attention",
        says="The whole state decays by one factor, which each token sets.",
        papers=(Paper("Dao and Gu", 2024, "2405.21060"),), aliases=("ssd", "mamba-2", "mamba2", "simple gla"),
        draw=draw.SCALAR,
        laws=(agrees("linear_attention", oracles.UNNORMALISED, to="linear_attention",
                     draw=but(draw.SCALAR, draw.with_decay(np.zeros_like)), says="Without decay it is linear attention."),
              agrees("one_matrix", oracles.one_matrix, draw=draw.SCALAR,
                     says="It is one matrix product, whose matrix is multiplied by products of decays."),
              strong_decay("simple_gated_linear_attention", draw.SCALAR), waits(draw.SCALAR)),
        bad_inputs=(refused.GROWING_DECAY, refused.SCALE), inputs=(DECAY,)),
    recurrence(
        name="retention",
        says="The weight of a key decays by a fixed factor per token.",
        papers=(Paper("Sun et al.", 2023, "2307.08621"),), aliases=("retnet", "lightning attention"),
        draw=draw.HEADS,
        laws=(agrees("simple_gated_linear_attention", oracles.same_decay_at_every_token, to="simple_gated_linear_attention",
                     draw=draw.HEADS, says="It is simple gated linear attention with the same decay at every token."),
              strong_decay("retention", draw.HEADS)),
        bad_inputs=(refused.GROWING_DECAY, refused.SCALE), mixer=calls.retnet),
    recurrence(
        name="delta_rule",
        says="Each token corrects the value that the state stores under its key.",
        papers=(Paper("Schlag et al.", 2021, "2102.11174"), Paper("Yang et al.", 2024, "2406.06484")),
        aliases=("deltanet", "fast weights"),
        draw=draw.BETA,
        laws=(agrees("linear_attention", oracles.weighted, to="linear_attention", draw=but(draw.BETA, draw.orthonormal),
                     says="With orthonormal keys there is nothing to correct: it is linear attention over beta v."),
              agrees("zero", oracles.zeros, draw=but(draw.BETA, draw.with_beta(0.0)), says="With beta 0 nothing is written."),
              agrees("the_value_just_written", own_values, draw=RECALL,
                     says="With beta 1 and keys of length 1 a query for the last key reads exactly its value."),
              waits(draw.BETA)),
        bad_inputs=(refused.BETA, refused.SCALE), inputs=(STRENGTH,), mixer=calls.unit_keys(definitions.delta_rule_chunked)),
    recurrence(
        name="gated_delta_rule",
        says="The state decays, and then each token corrects the value that it stores under its key.",
        papers=(Paper("Yang et al.", 2024, "2412.06464"),), aliases=("gated deltanet", "qwen3-next"),
        draw=draw.BOTH,
        laws=(agrees("delta_rule", taking(definitions.delta_rule, "beta"), to="delta_rule",
                     draw=but(draw.BOTH, draw.with_decay(np.zeros_like)), says="Without decay it is the delta rule."),
              waits(draw.BOTH)),
        bad_inputs=(refused.BETA, refused.GROWING_DECAY, refused.SCALE), inputs=(STRENGTH, DECAY),
        mixer=calls.unit_keys(definitions.gated_delta_rule_chunked)),
)
