"""Rows of linear attention, of other features for it, and of states that decay or are corrected by each token."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.state import StateCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import NORMALISED_STATE, STATE, CacheSize, state_of
from tinyattn.catalog.row import Paper, Row
from tinyattn.laws import LINEAR_LAWS
from tinyattn.laws.cached import cached, decoder_laws
from tinyattn.laws.draw import linear as draw
from tinyattn.laws.draw.linear import with_state
from tinyattn.laws.draw.options import but, given, long, on
from tinyattn.laws.draw.sizes import few_heads, fixed, ordinary
from tinyattn.laws.general import agrees, form_agrees
from tinyattn.laws.law import Draw, Law, unchanged
from tinyattn.laws.linear import form_laws, forms, is_generalized, recurrence_laws, strong_decay, true_everywhere, waits, within_sigmas
from tinyattn.laws.oracles import linear as oracles
from tinyattn.laws.oracles import states
from tinyattn.laws.oracles.calls import own_values, taking
from tinyattn.laws.problem import Mechanism
from tinyattn.layers.inputs import Input, log_sigmoid
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.features import relu_features

RECURRENT, CHUNKED = definitions.linear_attention_recurrent, definitions.linear_attention_chunked
DECAY = Input.of(definitions.simple_gated_linear_attention, "log_decay", log_sigmoid, 4.0)
DECAY_PER_CHANNEL = Input.of(definitions.gated_linear_attention, "log_decay", log_sigmoid, 4.0)
STRENGTH = Input.of(definitions.delta_rule, "beta", sigmoid, 0.0)


def feature_laws(name: str, weights: Any, sample: Draw, says: str, mechanism: Mechanism, near: Draw | None = None) -> tuple[Law, ...]:
    """Returns the laws of all features: their products are these weights; with a cache; as a mixer of tokens, on `near`."""
    mixed = sample if near is None else near
    return (*form_agrees(name, oracles.by_weights(weights), sample, says, slopes=on(sample, ordinary)),
            *decoder_laws(mechanism, given(mixed, causal=True, normalize=True), mixed, cache=StateCache))


def recurrence(*, name: str, sample: Draw, laws: tuple[Law, ...], mixer: Mechanism | None = None, stated: Any = with_state,
               cache_size: CacheSize = STATE, **fields: Any) -> Row:
    """Returns the row of a recurrence: its forms, their laws and its own, and a state as its cache."""
    known = forms(name)
    mixed = mixer or getattr(fastest, name)
    return Row(name=name, definition=getattr(definitions, name), cost="heads i d e", sample=sample, forms=known,
               laws=(*form_laws(name, sample, stated), cached(partial(StateCache, known["chunked"]), long(sample)), *laws,
                     *recurrence_laws(sample)),
               mixer=calls.always_causal(mixed), cache=partial(StateCache, mixed), cache_size=cache_size, **fields)


ROWS = (
    Row(name="linear_attention", definition=definitions.linear_attention,
        papers=(Paper("Katharopoulos et al.", 2020, "2006.16236"),), cost="heads i d e",
        says="Queries read a state to which every token adds the features of its key, multiplied by its value.",
        aliases=("kernel attention", "elu attention"), sample=draw.linear,
        laws=(*form_agrees("linear_attention_recurrent", RECURRENT, draw.linear, "Its recurrent form gives the same outputs.",
                           slopes=draw.linear),
              *form_agrees("linear_attention_chunked", CHUNKED, draw.linear, "Its chunked form gives the same "
                                                                             "outputs.", slopes=draw.linear),
              agrees("squared_scores", oracles.by_weights(states.squared_scores),
                     draw=given(draw.linear, feature_map=states.squares, normalize=False),
                     says="With all products of two channels as features the weights are squares of scores: this is ReBased."),
              is_generalized(given(draw.linear, causal=True, normalize=False, feature_map=None),
                             "read vectors of 0 and no decay, where keys and queries are features already"),
              cached(StateCache, draw.always(causal=True, normalize=True)), *LINEAR_LAWS),
        bad_inputs=(refused.SCALE, refused.STATE), forms={"recurrent": RECURRENT, "chunked": CHUNKED},
        mixer=fastest.linear_attention, cache=StateCache, cache_size=NORMALISED_STATE),
    Row(name="based", definition=definitions.based, papers=(Paper("Arora et al.", 2024, "2402.18668"),),
        kind="approximate", cost="heads i d^2 e",
        says="The product of two features is the first three terms of the exponential series of the score.",
        aliases=("taylor features", "taylor linear attention"), sample=draw.linear, fit=few_heads,
        laws=(agrees("attention_on_small_scores", taking(definitions.attention, "causal"), to="attention", kind="approximate",
                     draw=but(draw.linear, lambda p: p.but(q=1e-6 * p.q, normalize=True)),
                     says="The smaller the scores, the nearer the result is to attention: the error falls with their third power."),
              *feature_laws("polynomial", oracles.polynomial, draw.linear,
                            "The product of the features of a query and a key is the polynomial 1 + s + s^2 / 2 of their score s.",
                            definitions.based)),
        bad_inputs=(refused.STATE,),
        **calls.summing(definitions.based, CacheSize("kv_heads (1 + head_dim + head_dim^2) (value_dim + 1) itemsize",
                                               state_of(lambda d: 1 + d + d * d)))),
    Row(name="cosformer", definition=definitions.cosformer, papers=(Paper("Qin et al.", 2022, "2202.08791"),),
        cost="heads i d e",
        says="Positive features, whose products decrease with the cosine of the distance.",
        aliases=("cosine reweighting",), sample=draw.AWAY, fit=few_heads,
        laws=(agrees("relu_features", taking(definitions.linear_attention, "causal", "normalize", feature_map=relu_features),
                     draw=given(draw.AWAY, max_length=10 ** 12), to="linear_attention",
                     says="With a max_length far beyond every text it is linear attention on the positive parts of queries and keys."),
              unchanged("tokens_may_move_together", "Moving all tokens by the same number of positions changes nothing.", draw.AWAY,
                        lambda p: p.but(start=p.options["start"] + 7)),
              *feature_laws("weights_by_distance", oracles.cosine_of_distance, draw.AWAY,
                            "Summing keys into a state first gives the same as computing the weight of every pair.",
                            definitions.cosformer, draw.NEAR)),
        bad_inputs=(refused.STATE, refused.value("max_length", 0), refused.kind("max_length", 2.5)),
        **calls.summing(calls.cosformer_mixer, CacheSize("kv_heads 2 head_dim (value_dim + 1) itemsize", state_of(lambda d: 2 * d)))),
    Row(name="performer", definition=definitions.performer,
        papers=(Paper("Choromanski et al.", 2020, "2009.14794"),), kind="approximate", cost="heads i features e",
        says="Random features, whose products are on average the exponential of the score.",
        aliases=("favor+", "random features"), sample=draw.DIRECTED, fit=few_heads,
        laws=(Law("on_average_it_is_attention",
                  "Averaged over random directions, the product of the features of a query and a key is the exponential of their "
                  "score.",
                  on(draw.DIRECTED, fixed(leading=(), kv_heads=1, groups=1)), within_sigmas, true_everywhere, exact=True,
                  to="attention", kind="in distribution"),
              *feature_laws("positive_kernel", oracles.positive_kernel, draw.DIRECTED,
                            "Weighing each pair by a mean over the directions gives the same outputs.", definitions.performer)),
        bad_inputs=(refused.STATE, refused.shape("projection", 3, 99), refused.kind("projection", [[1.0]])),
        **calls.summing(calls.performer_mixer, CacheSize(f"kv_heads {calls.FEATURES} (value_dim + 1) itemsize",
                                                         state_of(lambda d: calls.FEATURES)))),
    recurrence(
        name="gated_linear_attention",
        says="The state decays per channel, by a factor that each token sets.",
        papers=(Paper("Yang et al.", 2023, "2312.06635"),), aliases=("gla",), sample=draw.CHANNELS,
        laws=(agrees("simple_gated_linear_attention", oracles.one_decay_per_token, to="simple_gated_linear_attention",
                     draw=but(draw.CHANNELS, draw.with_decay(draw.equal_channels)),
                     says="With the same decay in every channel it is simple gated linear attention."),
              agrees("forget_gates", states.forget_gates, draw=but(draw.CHANNELS, draw.keys_of_forget_gates),
                     says="With keys of 1 - exp(log_decay) a token replaces exactly what each channel of the state loses: this is "
                          "HGRN2."),
              is_generalized(draw.CHANNELS, "read vectors of 0"),
              strong_decay("gated_linear_attention", draw.CHANNELS), waits(draw.CHANNELS)),
        bad_inputs=(refused.GROWING_DECAY, refused.SCALE), inputs=(DECAY_PER_CHANNEL,)),
    recurrence(
        name="simple_gated_linear_attention",
        says="The whole state decays by one factor, which each token sets.",
        papers=(Paper("Dao and Gu", 2024, "2405.21060"),), aliases=("ssd", "mamba-2", "mamba2", "simple gla"), sample=draw.SCALAR,
        laws=(agrees("linear_attention", oracles.UNNORMALISED, to="linear_attention",
                     draw=but(draw.SCALAR, draw.with_decay(np.zeros_like)), says="Without decay it is linear attention."),
              agrees("one_matrix", oracles.one_matrix, draw=draw.SCALAR,
                     says="Multiplying each q . k by the decays between its two tokens, and the resulting matrix by the values, "
                          "gives the same outputs."),
              is_generalized(draw.SCALAR, "read vectors of 0 and the same decay in every channel"),
              strong_decay("simple_gated_linear_attention", draw.SCALAR), waits(draw.SCALAR)),
        bad_inputs=(refused.GROWING_DECAY, refused.SCALE), inputs=(DECAY,)),
    recurrence(
        name="retention",
        says="The weight of a key decays by a fixed factor per token.",
        papers=(Paper("Sun et al.", 2023, "2307.08621"),), aliases=("retnet",), sample=draw.HEADS,
        laws=(agrees("simple_gated_linear_attention", oracles.same_decay_at_every_token, to="simple_gated_linear_attention",
                     draw=draw.HEADS, says="It is simple gated linear attention with the same decay at every token."),
              is_generalized(draw.HEADS, "read vectors of 0 and the same decay in every channel and at every token"),
              strong_decay("retention", draw.HEADS)),
        bad_inputs=(refused.GROWING_DECAY, refused.SCALE), mixer=calls.retnet),
    recurrence(
        name="delta_rule",
        says="Each token corrects the value that the state stores under its key.",
        papers=(Paper("Schlag et al.", 2021, "2102.11174"), Paper("Yang et al.", 2024, "2406.06484")),
        aliases=("deltanet", "fast weights"), sample=draw.BETA,
        laws=(agrees("linear_attention", oracles.weighted, to="linear_attention", draw=but(draw.BETA, draw.orthonormal),
                     says="With orthonormal keys there is nothing to correct: it is linear attention over the values times beta."),
              agrees("zero", oracles.zeros, draw=but(draw.BETA, draw.with_beta(0.0)), says="With beta 0 nothing is written."),
              agrees("the_value_just_written", own_values, draw=but(long(draw.BETA), draw.recall),
                     says="With beta 1 and keys of length 1 a query for the last key reads exactly its value."),
              is_generalized(draw.BETA, "read -beta k, write k, values beta v and no decay"),
              waits(draw.BETA)),
        bad_inputs=(refused.BETA, refused.SCALE), inputs=(STRENGTH,), mixer=calls.with_unit_keys(fastest.delta_rule)),
    recurrence(
        name="gated_delta_rule",
        says="The state decays, and then each token corrects the value that it stores under its key.",
        papers=(Paper("Yang et al.", 2024, "2412.06464"),), aliases=("gated deltanet", "qwen3-next"), sample=draw.BOTH,
        laws=(agrees("delta_rule", taking(definitions.delta_rule, "beta"), to="delta_rule",
                     draw=but(draw.BOTH, draw.with_decay(np.zeros_like)), says="Without decay it is the delta rule."),
              is_generalized(draw.BOTH, "read -beta exp(log_decay) k, write k, values beta v and the same decay in every channel"),
              waits(draw.BOTH)),
        bad_inputs=(refused.BETA, refused.GROWING_DECAY, refused.SCALE), inputs=(STRENGTH, DECAY),
        mixer=calls.with_unit_keys(fastest.gated_delta_rule)),
)
