"""Rows of exact softmax attention: its forms, how heads share keys, and attention with one thing changed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.latent import LatentCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import KEYS_AND_VALUES, KEYS_AND_VALUES_OF_ALL_HEADS, LATENT, ONE_HEAD
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws import GRADIENT_LAWS, LSE_LAWS, SOFTMAX_LAWS
from tinyattn.laws.cached import cached, decoder_laws
from tinyattn.laws.draw import variants as draw
from tinyattn.laws.draw.options import but, given
from tinyattn.laws.draw.sizes import even, fixed, ordinary
from tinyattn.laws.draw.softmax import ALL, softmax
from tinyattn.laws.dtype import array_laws
from tinyattn.laws.general import agrees, form_agrees, gradients_agree, invisible
from tinyattn.laws.heads import extra_key
from tinyattn.laws.law import Law, plain, unchanged
from tinyattn.laws.masking import causal
from tinyattn.laws.mean import linear_in_the_values
from tinyattn.laws.oracles import variants as oracles
from tinyattn.laws.oracles.calls import taking
from tinyattn.layers.inputs import Input, identity
from tinyattn.layers.latent import LatentAttention

SAMPLE, CAUSAL = softmax(*ALL), given(softmax(), causal=True)
LONG = but(draw.SOFTMAX, draw.long_vectors, fit=ordinary)
VASWANI, COST = Paper("Vaswani et al.", 2017, "1706.03762"), "heads i j (d + e)"
# Laws that change how many heads share a key do not apply to a form that fixes this number.
FIXED_HEADS = tuple(law for law in (*SOFTMAX_LAWS, *GRADIENT_LAWS)
                    if law.name not in ("a_head_reads_its_group", "d_k_is_the_sum_over_its_group", "a_mask_broadcasts_from_the_right"))


def fixed_heads(*, attends: str, groups: str, **fields: Any) -> Row:
    """Returns the row of a form that fixes how many heads share a key; two sentences say how it is a case of more general ones."""
    laws = (agrees("attention", definitions.attention, to="attention", says=attends),
            agrees("grouped_query_attention", definitions.grouped_query_attention, to="grouped_query_attention", says=groups),
            cached(GrowingCache, CAUSAL), *FIXED_HEADS)
    return Row(cost=COST, sample=SAMPLE, laws=laws, bad_inputs=refused.SOFTMAX, cache=GrowingCache, **fields)


ROWS = (
    Row(definition=definitions.attention, papers=(VASWANI,), cost=COST,
        says="Every query averages the visible values, weighted by the softmax of its scores.",
        aliases=("sdpa", "softmax attention", "scaled dot-product attention"), sample=SAMPLE,
        laws=(agrees("streaming_attention", definitions.streaming_attention, to="streaming_attention",
                     says="Summing one block of keys at a time gives the same outputs."),
              gradients_agree("streaming_attention", definitions.streaming_attention), cached(GrowingCache, CAUSAL),
              *SOFTMAX_LAWS, *GRADIENT_LAWS),
        bad_inputs=refused.SOFTMAX,
        forms={"streaming": definitions.streaming_attention, "with_lse": definitions.attention_with_lse},
        mixer=fastest.attention, cache=GrowingCache, cache_size=KEYS_AND_VALUES),
    Row(definition=definitions.attention_with_lse, papers=(Paper("Dao et al.", 2022, "2205.14135"),), cost=COST,
        says="Attention, and for every query the log of the sum of its exponentials.",
        aliases=("lse",), sample=SAMPLE,
        laws=LSE_LAWS, bad_inputs=refused.SOFTMAX),
    Row(definition=definitions.streaming_attention,
        papers=(Paper("Milakov and Gimelshein", 2018, "1805.02867"), Paper("Rabe and Staats", 2021, "2112.05682")),
        cost=f"{COST}, memory i block",
        says="Attention computed one block of keys at a time, with running sums.",
        aliases=("online softmax", "flash attention"), sample=SAMPLE,
        laws=(agrees("attention", definitions.attention, to="attention", says="All blocks together give attention."),
              gradients_agree("attention", definitions.attention),
              invisible("block", (1, 2, 3, 7), SAMPLE), *SOFTMAX_LAWS, *GRADIENT_LAWS),
        bad_inputs=refused.SOFTMAX),
    fixed_heads(
        name="multi_head_attention", aliases=("mha",), papers=(VASWANI,),
        says="Every query head has its own keys and values.",
        definition=definitions.multi_head_attention, fit=fixed(groups=1), cache_size=KEYS_AND_VALUES_OF_ALL_HEADS,
        attends="It is attention whose heads share no keys or values.",
        groups="It is grouped-query attention with one group per head."),
    fixed_heads(
        name="multi_query_attention", aliases=("mqa",), papers=(Paper("Shazeer", 2019, "1911.02150"),),
        says="All query heads read the same single head of keys and values.",
        definition=definitions.multi_query_attention, fit=fixed(kv_heads=1), cache_size=ONE_HEAD,
        attends="It is attention with one kv head.", groups="It is grouped-query attention with one group for all heads."),
    Row(definition=definitions.grouped_query_attention, papers=(Paper("Ainslie et al.", 2023, "2305.13245"),), cost=COST,
        says="Groups of neighbouring query heads share a head of keys and values.",
        aliases=("gqa",), sample=SAMPLE,
        laws=(agrees("attention", definitions.attention, to="attention", says="It is attention, written out group by group."),
              agrees("multi_head_attention", oracles.repeated_keys, to="multi_head_attention",
                     says="With keys and values repeated for every head of their group it is multi-head attention."),
              cached(GrowingCache, CAUSAL), *SOFTMAX_LAWS, *GRADIENT_LAWS),
        bad_inputs=refused.SOFTMAX, cache=GrowingCache, cache_size=KEYS_AND_VALUES),
    Row(definition=definitions.softmax_off_by_one_attention, papers=(Paper("Agarwal et al.", 2025, "2508.10925"),), cost=COST,
        says="A 1 is added to the softmax denominator, so that a head may output almost nothing.",
        aliases=("quiet attention", "softmax1"), sample=draw.SOFTMAX,
        laws=(*form_agrees("attention_with_sinks_of_0", oracles.zero_sinks, draw.SOFTMAX, "It is attention with sinks of 0.",
                           slopes=draw.SLOPES, to="attention"),
              Law("one_more_key_of_0", "It is attention with one more key and value of 0, which every query sees.", draw.SOFTMAX,
                  plain, lambda f, p: plain(definitions.attention, extra_key(p)), to="attention"),
              *decoder_laws(definitions.softmax_off_by_one_attention, draw.CAUSAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, BadInput({"sinks": np.ones(4)}, TypeError, ("sinks",))),
        **calls.growing(fastest.softmax_off_by_one_attention)),
    Row(definition=definitions.qk_norm_attention, papers=(Paper("Henry et al.", 2020, "2010.04245"),), cost=COST,
        says="Queries and keys are normalised, so that no score can grow without bound.",
        aliases=("query-key norm",), sample=draw.QK,
        laws=(agrees("attention_on_cosines", oracles.cosines, draw=LONG, to="attention",
                     says="Without weights its scores are the cosines of queries and keys, multiplied by sqrt(head_dim)."),
              unchanged("vectors_have_no_length", "The length of queries and keys has no effect.", LONG,
                        lambda p: p.but(q=3.0 * p.q, k=0.5 * p.k)),
              Law("a_norm_and_a_turn_commute", "Without weights, rotating before the norm gives the same as rotating after it.",
                  softmax("causal", fit=even), lambda f, p: plain(f, p.but(rotate=oracles.rotate)),
                  lambda f, p: plain(f, p.but(q=oracles.rotate(p.q), k=oracles.rotate(p.k)))),
              agrees("attention_on_turned_norms", oracles.rotated_norms, to="attention",
                     draw=but(draw.QK, lambda p: p.but(rotate=oracles.rotate), fit=even),
                     says="It is attention after queries and keys were normalised, multiplied by the weights and rotated, in this "
                          "order."),
              *decoder_laws(definitions.qk_norm_attention, draw.QK_CAUSAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, BadInput({"q_weight": np.ones(99)}, ValueError, ("weight", "(99,)"))),
        **calls.growing(fastest.qk_norm_attention)),
    Row(definition=definitions.differential_attention, called=calls.second_maps, papers=(Paper("Ye et al.", 2024, "2410.05258"),),
        cost=f"2 {COST}",
        says="One attention is subtracted from another over the same values, so that the weights they share cancel.",
        aliases=("diff transformer",), sample=draw.DIFFERENTIAL,
        laws=(*form_agrees("two_weights", oracles.two_weights, draw.DIFFERENTIAL,
                           "Subtracting the second weights, times lambda, from the first, and applying the difference to the values, "
                           "gives the same outputs.", slopes=draw.DIFFERENTIAL_SLOPES),
              agrees("attention", taking(definitions.attention, *ALL), draw=given(draw.DIFFERENTIAL, lambda_=0.0), to="attention",
                     says="With lambda 0 it is attention."),
              agrees("less_attention", oracles.less_attention, draw=but(draw.DIFFERENTIAL, lambda p: p.but(q2=p.q, k2=p.k)),
                     to="attention", says="With the same queries and keys in both attentions it is attention times 1 - lambda."),
              replace(cached(partial(GrowingCache, calls.halved_channels), but(draw.CAUSAL, lambda p: p.but(lambda_=0.3), fit=even)),
                      left=lambda f, p: plain(partial(calls.halved_channels, mechanism=f), p)),
              causal(draw.DIFFERENTIAL_CAUSAL), linear_in_the_values(draw.DIFFERENTIAL), *array_laws(draw.DIFFERENTIAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, refused.shape("lambda_", 99), refused.value("lambda_", float("nan"))),
        **calls.growing(calls.halved_channels)),
    Row(definition=definitions.gated_attention, papers=(Paper("Qiu et al.", 2025, "2505.06708"),), cost=COST,
        says="Each query decides with a gate how much of its output is passed on.",
        aliases=("output gate",), sample=draw.GATED,
        laws=(agrees("gate_in_the_weights", oracles.gate_in_the_weights, draw=draw.GATED,
                     says="Multiplying the weights by the gate, in place of the output, gives the same outputs."),
              agrees("half_of_attention", oracles.times_attention(0.5), draw=but(draw.GATED, draw.gates_of(0.0)), to="attention",
                     says="Gates of 0 halve the output of attention."),
              agrees("attention", oracles.times_attention(1.0), draw=but(draw.GATED, draw.gates_of(60.0)), to="attention",
                     says="With gates so large that their sigmoid is 1 it is attention."),
              *decoder_laws(definitions.gated_attention, draw.GATED_CAUSAL)),
        bad_inputs=(*refused.WITHOUT_SINKS, refused.shape("gate", 3)),
        inputs=(Input.of(definitions.gated_attention, "gate", identity, 1.0),), **calls.growing(fastest.gated_attention)),
    Row(definition=definitions.latent_attention_expanded, called=calls.as_latent,
        papers=(Paper("DeepSeek-AI", 2024, "2405.04434"),), cost="heads i j (n + p + e) + heads j r (n + e)",
        says="The keys and values of all heads are computed from one small vector per token.",
        aliases=("mla", "latent attention", "multi-head latent attention", "deepseek attention"), sample=draw.latent,
        laws=(*form_agrees("latent_attention_absorbed", calls.as_latent(definitions.latent_attention_absorbed), draw.latent,
                           "With the projections absorbed into the queries and outputs, the latent may be the only key and value.",
                           slopes=draw.latent),
              agrees("grouped_query_attention", oracles.keys_in_latents, draw=draw.selecting, to="grouped_query_attention",
                     says="With projections that pick channels it is grouped-query attention on what the latents hold."),
              cached(LatentCache, draw.latent, draw.with_joined_queries, least=4), causal(draw.latent), *array_laws(draw.latent)),
        bad_inputs=(refused.shape("w_uk", 1, 1, 1), refused.shape("w_uv", 3)),
        forms={"absorbed": definitions.latent_attention_absorbed}, layer=LatentAttention.create,
        mixer=calls.ABSORBED, cache=LatentCache, cache_size=LATENT),
)
