"""Rows of linear attention with other features: Based, cosFormer, Performer."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.caches.state import StateCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import CacheSize, state_of
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import decoded
from tinyattn.laws.draw import linear as draw
from tinyattn.laws.draw.options import but, on
from tinyattn.laws.draw.sizes import few_heads, one_head, ordinary
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import mixing_laws
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.linear import true_everywhere, within_sigmas
from tinyattn.laws.oracles import linear as oracles
from tinyattn.laws.oracles.calls import taking
from tinyattn.laws.problem import Mechanism
from tinyattn.laws.score import plain
from tinyattn.ops.features import cosformer_features, performer_features, relu_features, taylor_features


def shared_laws(draw: Draw, mechanism: Mechanism) -> tuple[Law, ...]:
    """Returns the laws that hold for all features: with a cache, and as a mixer of tokens."""
    causal = but(draw, lambda p: p.but(causal=True, normalize=True))
    return (*decoded(partial(StateCache, mechanism), causal), *mixing_laws(draw))


POLYNOMIAL, BY_COSINE = oracles.by_weights(oracles.polynomial), oracles.by_weights(oracles.cosine_of_distance)
POSITIVE_KERNEL = oracles.by_weights(oracles.positive_kernel)
ROWS = (
    Row(name="based",
        says="The product of two features is the first three terms of the exponential series of the score.",
        definition=taylor_features, called=calls.same_for_all,
        papers=(Paper("Arora et al.", 2024, "2402.18668"),), kind="approximate", cost="heads i d^2 e",
        aliases=("taylor features", "taylor linear attention"), sample=draw.linear, fit=few_heads,
        laws=(agrees("polynomial", POLYNOMIAL, draw=draw.linear, says="Products of features are a polynomial of the scores."),
              gradients_agree("polynomial", POLYNOMIAL, draw=on(draw.linear, ordinary)),
              agrees("attention_on_small_scores", taking(definitions.attention, "causal"), to="attention", kind="approximate",
                     draw=but(draw.linear, lambda p: p.but(q=1e-6 * p.q, normalize=True)),
                     says="The smaller the scores, the nearer the result is to attention: the error falls with their third power."),
              *shared_laws(draw.linear, calls.BASED)),
        bad_inputs=(refused.STATE,),
        mixer=calls.BASED, cache=partial(StateCache, calls.BASED),
        cache_size=CacheSize("kv_heads (1 + head_dim + head_dim^2) (value_dim + 1) itemsize", state_of(lambda d: 1 + d + d * d))),
    Row(name="cosformer",
        says="Positive features, whose products decrease with the cosine of the distance.",
        definition=cosformer_features, called=calls.placed,
        papers=(Paper("Qin et al.", 2022, "2202.08791"),), kind="exact", cost="heads i d e", aliases=("cosine reweighting",),
        sample=draw.AWAY, fit=few_heads,
        laws=(agrees("weights_by_distance", BY_COSINE, draw=draw.AWAY,
                     says="Summing keys into a state first gives the same as computing the weight of every pair."),
              gradients_agree("weights_by_distance", BY_COSINE, draw=on(draw.AWAY, ordinary)),
              agrees("relu_features", taking(definitions.linear_attention, "causal", "normalize", feature_map=relu_features),
                     draw=but(draw.AWAY, lambda p: p.but(max_length=10 ** 12)), to="linear_attention",
                     says="With a max_length far beyond every text it is linear attention on the positive parts."),
              Law("tokens_may_move_together", "Moving all tokens by the same number of positions changes nothing.", draw.AWAY, plain,
                  lambda f, p: plain(f, p.but(start=p.options["start"] + 7))),
              *shared_laws(draw.NEAR, calls.COSFORMER)),
        bad_inputs=(refused.STATE, BadInput({"max_length": 0}, ValueError, ("max_length", "0")),
                    BadInput({"max_length": 2.5}, TypeError, ("max_length", "float"))),
        mixer=calls.cosformer_mixer, cache=partial(StateCache, calls.cosformer_mixer),
        cache_size=CacheSize("kv_heads 2 head_dim (value_dim + 1) itemsize", state_of(lambda d: 2 * d))),
    Row(name="performer",
        says="Random features, whose products are on average the exponential of the score.",
        definition=performer_features, called=calls.same_for_all,
        papers=(Paper("Choromanski et al.", 2020, "2009.14794"),), kind="approximate", cost="heads i features e",
        aliases=("favor+", "random features"),
        sample=draw.DIRECTED, fit=few_heads,
        laws=(agrees("positive_kernel", POSITIVE_KERNEL, draw=draw.DIRECTED,
                     says="The product of two features is a mean over the directions, pair by pair."),
              gradients_agree("positive_kernel", POSITIVE_KERNEL, draw=on(draw.DIRECTED, ordinary)),
              Law("on_average_it_is_attention", "Averaged over directions, products of features are the exponentials of the scores.",
                  on(draw.DIRECTED, one_head), within_sigmas, true_everywhere, exact=True, to="attention", kind="in distribution"),
              *shared_laws(draw.DIRECTED, calls.PERFORMER)),
        bad_inputs=(refused.STATE, BadInput({"projection": np.ones((3, 99))}, ValueError, ("projection", "(3, 99)")),
                    BadInput({"projection": [[1.0]]}, TypeError, ("projection", "list"))),
        mixer=calls.performer_mixer, cache=partial(StateCache, calls.performer_mixer),
        cache_size=CacheSize(f"kv_heads {calls.FEATURES} (value_dim + 1) itemsize", state_of(lambda d: calls.FEATURES))),
)
