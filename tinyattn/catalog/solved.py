"""Rows of recurrences that read more than one product with a state: by solving a regression, and by levels."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.state import StateCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import LEVEL_STATES, SUMS
from tinyattn.catalog.linear import DECAY, STRENGTH
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import solved as draw
from tinyattn.laws.draw.options import but, long, on
from tinyattn.laws.draw.sizes import square
from tinyattn.laws.general import agrees, form_agrees
from tinyattn.laws.law import Law, plain
from tinyattn.laws.linear import recurrence_laws, waits
from tinyattn.laws.oracles import solved as oracles
from tinyattn.layers.inputs import Input, Parameter, between

ROWS = (
    Row(name="mesa", definition=definitions.mesa, papers=(Paper("von Oswald et al.", 2025, "2506.05233"),),
        cost="heads i d (d^2 + e)",
        says="Each query is answered by a ridge regression of all values so far on their keys, solved anew at every token.",
        aliases=("mesanet", "mesa layer"), sample=draw.MESA,
        laws=(*form_agrees("ridge_regression", oracles.ridge_regression, draw.MESA,
                           "It is ridge regression over all past tokens, each weighed by its beta and the decays after it."),
              Law("a_large_ridge_tends_to_simple_gated_linear_attention",
                  "The larger the ridge, the nearer the output times the ridge is to simple gated linear attention over the values "
                  "times beta.",
                  but(draw.MESA, draw.large_ridge), oracles.times_ridge, lambda f, p: plain(oracles.weighed_and_gated, p),
                  to="simple_gated_linear_attention", kind="approximate"),
              agrees("linear_attention", oracles.less_linear, draw=but(draw.MESA, draw.orthonormal_and_kept), to="linear_attention",
                     says="With orthonormal keys, beta 1 and no decay it is linear attention divided by 1 plus the ridge."),
              cached(partial(StateCache, definitions.mesa), long(draw.MESA)), waits(draw.MESA), *recurrence_laws(draw.MESA)),
        bad_inputs=(refused.BETA, refused.GROWING_DECAY, refused.SCALE, refused.shape("ridge", 1, 1),
                    BadInput({"beta": np.full((1, 2, 7), -0.5)}, ValueError, ("beta", "at least 0")),
                    BadInput({"ridge": np.zeros((2, 4))}, ValueError, ("ridge", "above 0"))),
        inputs=(STRENGTH, DECAY, Parameter("ridge", "kv_heads head_dim", 0.5)),
        mixer=calls.always_causal(calls.mesa_mixer), cache=partial(StateCache, calls.mesa_mixer), cache_size=SUMS),
    Row(name="log_linear_attention", definition=definitions.log_linear_attention, papers=(Paper("Guo et al.", 2025, "2506.04761"),),
        cost="heads i log(i) d e",
        says="The past is held in few states, of one token, two, four and so on; each query sets how much each of them counts.",
        aliases=("log-linear", "log linear mamba-2", "fenwick attention"), sample=draw.LEVELS,
        laws=(*form_agrees("pair_by_pair", oracles.pair_by_pair, draw.LEVELS,
                           "Weighing each pair by the scale of its level, which is the highest bit in which both positions differ, "
                           "gives the same outputs."),
              agrees("simple_gated_linear_attention", oracles.without_levels, draw=but(draw.LEVELS, draw.scales_of(rest=1.0)),
                     to="simple_gated_linear_attention", says="With level scales of 1 it is simple gated linear attention."),
              agrees("blocks_of_four", oracles.blocks_of_four, to="simple_gated_linear_attention",
                     draw=but(on(draw.LEVELS, square), draw.scales_of(1.0, 1.0, 1.0, rest=0.0)),
                     says="With level scales of 1 for the first three levels and 0 for all others, every four tokens are a separate "
                          "text."),
              cached(partial(StateCache, definitions.log_linear_attention), long(draw.LEVELS)), *recurrence_laws(draw.LEVELS)),
        bad_inputs=(refused.GROWING_DECAY, refused.SCALE, refused.shape("level_scales", 1, 2, 7, 3),
                    BadInput({"initial_state": np.ones((1, 2, 1, 4, 3))}, TypeError, ("initial_state", "pair"))),
        inputs=(DECAY, Input("level_scales", "kv_heads 17", between(0.0, 2.0), 0.0)),
        mixer=calls.always_causal(fastest.log_linear_attention),
        cache=partial(StateCache, fastest.log_linear_attention), cache_size=LEVEL_STATES),
)
