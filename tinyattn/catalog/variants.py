"""Rows of attention with one thing changed: the denominator, a norm, a gate, a difference, a window per head."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import KEYS_AND_VALUES
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import cached, decoded
from tinyattn.laws.draw import variants as draw
from tinyattn.laws.draw.options import but
from tinyattn.laws.draw.sizes import at_most_keys, even, ordinary
from tinyattn.laws.draw.softmax import ALL, softmax, without
from tinyattn.laws.dtype import array_laws
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import causal, mixing_laws
from tinyattn.laws.heads import extra_key
from tinyattn.laws.law import Law
from tinyattn.laws.mean import linear_in_the_values
from tinyattn.laws.oracles import variants as oracles
from tinyattn.laws.oracles.calls import own_values, taking
from tinyattn.laws.score import plain
from tinyattn.laws.sparse import each_head_for_all
from tinyattn.layers.inputs import Input, identity
from tinyattn.ops.masks.constructors import sliding_window
from tinyattn.ops.masks.pattern import Pattern

LONG = but(draw.SOFTMAX, draw.long_vectors, fit=ordinary)
NARROW = but(draw.LOCAL, lambda p: p.but(window=3, sinks=None))
ATTENTION = taking(definitions.attention, *ALL)
WITHOUT_WINDOW = taking(definitions.attention, *without(["window"]))
ROWS = (
    Row(name="softmax_off_by_one_attention",
        says="A 1 is added to the softmax denominator, so that a head may output almost nothing.",
        definition=definitions.softmax_off_by_one_attention,
        papers=(Paper("Agarwal et al.", 2025, "2508.10925"),), kind="exact", cost="heads i j (d + e)",
        aliases=("quiet attention", "softmax1"), sample=draw.SOFTMAX,
        laws=(agrees("attention_with_sinks_of_0", oracles.zero_sinks, draw=draw.SOFTMAX, to="attention",
                     says="It is attention with sinks of 0."),
              gradients_agree("attention_with_sinks_of_0", oracles.zero_sinks, draw=draw.SLOPES),
              Law("one_more_key_of_0", "It is attention with one more key and value of 0, which every query sees.", draw.SOFTMAX,
                  plain, lambda f, p: extra_key(definitions.attention, p), to="attention"),
              *decoded(partial(GrowingCache, definitions.softmax_off_by_one_attention), draw.CAUSAL), *mixing_laws(draw.CAUSAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, BadInput({"sinks": np.ones(4)}, TypeError, ("sinks",))),
        mixer=fastest.softmax_off_by_one_attention,
        cache=partial(GrowingCache, fastest.softmax_off_by_one_attention), cache_size=KEYS_AND_VALUES),
    Row(name="qk_norm_attention",
        says="Queries and keys are normalised, so that no score can grow without bound.",
        definition=definitions.qk_norm_attention,
        papers=(Paper("Henry et al.", 2020, "2010.04245"),), kind="exact", cost="heads i j (d + e)", aliases=("query-key norm",),
        sample=draw.QK,
        laws=(agrees("attention_on_cosines", oracles.cosines, draw=LONG, to="attention",
                     says="Without weights it is attention on cosines, multiplied by sqrt(head_dim)."),
              Law("vectors_have_no_length", "The length of queries and keys has no effect.", LONG, plain,
                  lambda f, p: plain(f, p.but(q=3.0 * p.q, k=0.5 * p.k))),
              Law("a_norm_and_a_turn_commute", "Without weights, rotating before the norm gives the same as rotating after it.",
                  softmax("causal", fit=even), lambda f, p: plain(f, p.but(rotate=oracles.rotate)),
                  lambda f, p: plain(f, p.but(q=oracles.rotate(p.q), k=oracles.rotate(p.k)))),
              agrees("attention_on_turned_norms", oracles.rotated_norms, to="attention",
                     draw=but(draw.QK, lambda p: p.but(rotate=oracles.rotate), fit=even),
                     says="It is attention on what the norm, the weights and the rotation give, in this order."),
              *decoded(partial(GrowingCache, definitions.qk_norm_attention), draw.QK_CAUSAL), *mixing_laws(draw.QK_CAUSAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, BadInput({"q_weight": np.ones(99)}, ValueError, ("weight", "(99,)"))),
        mixer=fastest.qk_norm_attention, cache=partial(GrowingCache, fastest.qk_norm_attention),
        cache_size=KEYS_AND_VALUES),
    Row(name="differential_attention",
        says="One attention is subtracted from another over the same values, so that the weights they share cancel.",
        definition=definitions.differential_attention, called=calls.second_maps,
        papers=(Paper("Ye et al.", 2024, "2410.05258"),), kind="exact", cost="2 heads i j (d + e)", aliases=("diff transformer",),
        sample=draw.DIFFERENTIAL,
        laws=(agrees("two_weights", oracles.two_weights, draw=draw.DIFFERENTIAL,
                     says="It is the difference of two maps of weights, applied to the values."),
              gradients_agree("two_weights", oracles.two_weights, draw=draw.DIFFERENTIAL_SLOPES),
              agrees("attention", ATTENTION, draw=but(draw.DIFFERENTIAL, lambda p: p.but(lambda_=0.0)), to="attention",
                     says="With lambda 0 it is attention."),
              agrees("less_attention", oracles.less_attention, draw=but(draw.DIFFERENTIAL, lambda p: p.but(q2=p.q, k2=p.k)),
                     to="attention", says="With two equal maps it is attention times 1 - lambda."),
              replace(cached(partial(GrowingCache, calls.halved_channels), but(draw.CAUSAL, lambda p: p.but(lambda_=0.3), fit=even)),
                      left=lambda f, p: plain(partial(calls.halved_channels, mechanism=f), p)),
              causal(draw.DIFFERENTIAL_CAUSAL), linear_in_the_values(draw.DIFFERENTIAL), *array_laws(draw.DIFFERENTIAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, BadInput({"lambda_": np.ones(99)}, ValueError, ("lambda_", "(99,)")),
                    BadInput({"lambda_": float("nan")}, ValueError, ("lambda_", "nan"))),
        mixer=calls.halved_channels, cache=partial(GrowingCache, calls.halved_channels), cache_size=KEYS_AND_VALUES),
    Row(name="gated_attention",
        says="Each query decides with a gate how much of its output is passed on.",
        definition=definitions.gated_attention,
        papers=(Paper("Qiu et al.", 2025, "2505.06708"),), kind="exact", cost="heads i j (d + e)", aliases=("output gate",),
        sample=draw.GATED,
        laws=(agrees("gate_in_the_weights", oracles.gate_in_the_weights, draw=draw.GATED,
                     says="A gate on the output is a gate on the weights."),
              agrees("half_of_attention", oracles.times_attention(0.5), draw=but(draw.GATED, draw.gates_of(0.0)), to="attention",
                     says="Gates of 0 halve the output of attention."),
              agrees("attention", oracles.times_attention(1.0), draw=but(draw.GATED, draw.gates_of(60.0)), to="attention",
                     says="With gates wide open it is attention."),
              *decoded(partial(GrowingCache, definitions.gated_attention), draw.GATED_CAUSAL), *mixing_laws(draw.GATED_CAUSAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, BadInput({"gate": np.ones(3)}, ValueError, ("gate", "(3,)"))),
        inputs=(Input.of(definitions.gated_attention, "gate", identity, 1.0),), mixer=fastest.gated_attention,
        cache=partial(GrowingCache, fastest.gated_attention), cache_size=KEYS_AND_VALUES),
    Row(name="multi_head_local_attention",
        says="Every head has its own window.",
        definition=definitions.multi_head_local_attention,
        papers=(Paper("Luong et al.", 2015, "1508.04025"),), kind="exact", cost="heads i window (d + e)",
        aliases=("mhla", "local attention", "sliding window attention"),
        sample=draw.LOCAL,
        laws=(agrees("pairs_one_by_one", oracles.pairs_one_by_one, draw=draw.LOCAL,
                     says="Deciding pair by pair whether a key is in the window gives the same."),
              agrees("attention", WITHOUT_WINDOW, draw=but(draw.LOCAL, lambda p: p.but(window=p.k.shape[-2] + 1)), to="attention",
                     says="A window as long as the text gives causal attention."),
              agrees("own_values", own_values,
                     draw=but(draw.LOCAL, lambda p: p.but(window=1, mode="block", sinks=None), fit=at_most_keys),
                     says="With a window of 1 every query reads the value at its own position."),
              Law("windows_are_heads_own", "Every head gives the same as when all heads have its window.", draw.LOCAL, plain,
                  each_head_for_all),
              *decoded(partial(GrowingCache, definitions.multi_head_local_attention), NARROW), *mixing_laws(NARROW)),
        bad_inputs=(BadInput({"window": 0}, ValueError, ("window", "0")), BadInput({"window": [1]}, ValueError, ("window", "1")),
                    BadInput({"mode": "wide"}, ValueError, ("mode", "wide", "sliding")),
                    BadInput({"mask": Pattern(lambda i, j: i == j)}, TypeError, ("mask",))),
        mixer=calls.LOCAL, cache=partial(GrowingCache, calls.LOCAL), cache_size=KEYS_AND_VALUES, pattern=sliding_window(4)),
)
