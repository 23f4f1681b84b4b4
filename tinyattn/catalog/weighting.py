"""Rows of attention whose weights are not a plain softmax: gates that forget, shares, sigmoids, thresholds, scores by counts."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.tokens import TokenCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import KEYS_VALUES_AND_GATES
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import decoder_laws
from tinyattn.laws.draw import weighting as draw
from tinyattn.laws.draw.options import but, given
from tinyattn.laws.draw.variants import CAUSAL, SOFTMAX
from tinyattn.laws.general import agrees, form_agrees
from tinyattn.laws.law import Law
from tinyattn.laws.oracles import weighting as oracles
from tinyattn.laws.oracles.calls import taking
from tinyattn.layers.inputs import Input, Parameter, log_sigmoid

CAUSAL_ATTENTION = taking(definitions.attention, "scale", "window", causal=True)
COST = "heads i j (d + e)"
STICK = calls.always_causal(fastest.stick_breaking_attention)
NOT_FINITE = {name: BadInput({name: np.full(4, np.nan)}, ValueError, (name, "NaN")) for name in ("offset", "factor")}
FORGET = calls.always_causal(fastest.forgetting_attention)
ROWS = (
    Row(definition=definitions.forgetting_attention, papers=(Paper("Lin et al.", 2025, "2503.02130"),), cost=COST,
        says="Each token sets how much of everything before it is forgotten.",
        aliases=("fox", "forgetting transformer", "forget gate"), sample=draw.FORGET,
        laws=(*form_agrees("gates_one_by_one", oracles.forgotten, draw.FORGET,
                           "Going back from each query, key by key, and lowering the scores of all earlier keys by each gate, gives "
                           "the same."),
              agrees("attention", CAUSAL_ATTENTION, draw=but(draw.FORGET, draw.all_gates(0.0)), to="attention",
                     says="With gates of 1 it is causal attention."),
              agrees("attention_with_alibi", oracles.with_slopes, draw=but(draw.FORGET, draw.gates_of_heads), to="attention",
                     says="With the same gate at every token it is causal attention with ALiBi whose slopes are minus the log gates."),
              agrees("packed_documents", oracles.in_documents, draw=but(draw.FORGET, draw.open_or_closed), to="attention",
                     says="A gate of 0 begins a new document: no query from this token on sees anything before the token."),
              *decoder_laws(calls.always_causal(definitions.forgetting_attention), draw.FORGET, cache=TokenCache)),
        bad_inputs=(refused.WINDOW, refused.SCALE, refused.shape("log_forget", 1, 1), refused.FEWER_KEYS,
                    BadInput({"log_forget": np.ones((1, 4, 7))}, ValueError, ("log_forget", "at most 0")),
                    BadInput({"log_forget": np.full((1, 4, 7), np.nan)}, ValueError, ("log_forget", "NaN"))),
        inputs=(Input("log_forget", "heads", log_sigmoid, 4.0),),
        mixer=FORGET, cache=partial(TokenCache, FORGET), cache_size=KEYS_VALUES_AND_GATES),
    Row(definition=definitions.stick_breaking_attention, papers=(Paper("Tan et al.", 2024, "2410.17980"),), cost=COST,
        says="From the nearest key backwards, each key takes a share of the weight that nearer keys left.",
        aliases=("stick breaking", "sbatt"), sample=draw.STICK, forms={"with_rest": definitions.stick_breaking_attention_with_rest},
        laws=(*form_agrees("shares_one_by_one", oracles.broken_sticks, draw.STICK,
                           "Going back from each query and giving each key in turn its share of the weight that is left gives the "
                           "same."),
              agrees("halves", oracles.halves, draw=draw.STICK_FLAT, to="retention",
                     says="With scores of 0 every share is a half: it is retention with a decay of a half and keys of 1."),
              agrees("sigmoid_attention", oracles.one_share, draw=draw.STICK_OF_TWO, to="sigmoid_attention",
                     says="Where a query sees at most one key it is sigmoid attention without an offset."),
              Law("weights_and_rest_are_one", "The weights of a query and the rest, which no key took, sum to 1.", draw.STICK,
                  oracles.weights_and_rest, lambda f, p: (np.ones((*p.q.shape[:-1], p.v.shape[-1]), p.q.dtype),)),
              *decoder_laws(calls.always_causal(definitions.stick_breaking_attention), draw.STICK)),
        bad_inputs=(refused.SCALE, refused.kind("current", 1), refused.FEWER_KEYS),
        **calls.growing(STICK)),
    Row(definition=definitions.sigmoid_attention, papers=(Paper("Ramapuram et al.", 2024, "2409.04431"),), cost=COST,
        says="Every key has a weight of its own, the sigmoid of its score, which no other key changes.",
        aliases=("sigmoid", "flash sigmoid"), sample=draw.SIGMOID,
        laws=(*form_agrees("keys_one_by_one", oracles.sigmoids, draw.SIGMOID,
                           "Adding the values one by one, each times the sigmoid of its score plus the offset, gives the same "
                           "outputs.",
                           slopes=draw.SIGMOID_SLOPES),
              agrees("exponentials", oracles.exponentials, draw=draw.SIGMOID_LOW, to="attention_with_lse", terms=oracles.exponents,
                     says="With an offset far below 0 it is attention times the sum that its softmax divides by."),
              agrees("softmax_off_by_one_attention", oracles.without(definitions.softmax_off_by_one_attention, "offset"),
                     draw=draw.SIGMOID_ALONE, to="softmax_off_by_one_attention",
                     says="Where each query sees one key, an offset of 0 gives what softmax off by one gives."),
              *decoder_laws(definitions.sigmoid_attention, draw.SIGMOID_CAUSAL, draw.SIGMOID)),
        bad_inputs=(*refused.WITHOUT_SINKS, refused.shape("offset", 99), NOT_FINITE["offset"], refused.value("offset", float("inf"))),
        **calls.growing(fastest.sigmoid_attention)),
    Row(definition=definitions.sparsemax_attention, papers=(Paper("Martins and Astudillo", 2016, "1602.02068"),),
        cost=f"{COST} + heads i j log j",
        says="Weights fall linearly with the score, and are exactly 0 below a threshold.",
        aliases=("sparsemax",), sample=SOFTMAX,
        laws=(*form_agrees("a_threshold_found_by_halving", oracles.halved(2.0), SOFTMAX,
                           "Finding the threshold by halving an interval gives the same outputs."),
              agrees("entmax_attention", oracles.with_alpha(2.0), draw=SOFTMAX, to="entmax_attention",
                     says="It is entmax attention with alpha 2."),
              agrees("top_k_attention", oracles.best_key, draw=draw.SPREAD, to="top_k_attention",
                     says="Where the best score leads by 1 or more it is top-k attention to one key."),
              agrees("scores_less_their_mean", oracles.less_their_mean, draw=draw.CLOSE,
                     says="Where scores hardly differ, each of the n weights is 1 / n plus the score minus the mean score."),
              *decoder_laws(definitions.sparsemax_attention, CAUSAL, SOFTMAX)),
        bad_inputs=refused.WITHOUT_SINKS, **calls.growing(fastest.sparsemax_attention)),
    Row(definition=definitions.entmax_attention,
        papers=(Paper("Peters et al.", 2019, "1905.05702"), Paper("Correia et al.", 2019, "1909.00015")),
        cost=f"{COST} + heads i j log j",
        says="A number, alpha, sets how sparse the weights are: 1 is softmax, and the larger it is, the more weights are exactly 0.",
        aliases=("entmax", "alpha-entmax"), sample=draw.ALPHAS,
        laws=(*form_agrees("a_threshold_found_by_halving", oracles.halved(), draw.ALPHAS,
                           "Finding the threshold by halving an interval gives the same outputs.", slopes=draw.ALPHAS_SLOPES),
              agrees("attention", oracles.without(definitions.attention, "alpha"), draw=given(draw.ALPHAS, alpha=1.0), to="attention",
                     says="With alpha 1 it is attention."),
              agrees("sparsemax_attention", oracles.without(definitions.sparsemax_attention, "alpha"),
                     draw=given(draw.ALPHAS, alpha=2.0), to="sparsemax_attention", says="With alpha 2 it is sparsemax attention."),
              *decoder_laws(definitions.entmax_attention, draw.ALPHAS_CAUSAL, draw.ALPHAS)),
        bad_inputs=(*refused.WITHOUT_SINKS, refused.value("alpha", 0.5), refused.value("alpha", float("nan")),
                    refused.kind("alpha", "1.5")),
        **calls.growing(fastest.entmax_attention)),
    Row(definition=definitions.scalable_softmax_attention, papers=(Paper("Nakanishi", 2025, "2501.19399"),), cost=COST,
        says="Scores are multiplied by the log of the number of visible keys, so that long contexts do not flatten the weights.",
        aliases=("ssmax", "scalable softmax"), sample=draw.SCALABLE,
        laws=(*form_agrees("powers_of_counts", oracles.powers_of_counts, draw.SCALABLE,
                           "Raising the number of visible keys to the power of factor times score gives weights that, once "
                           "normalised, are the same.", slopes=draw.SCALABLE_SLOPES),
              agrees("attention", oracles.without(definitions.attention, "factor"), draw=draw.EVEN_COUNTS, to="attention",
                     says="Where each query sees all n keys, a factor of 1 / log n gives attention."),
              *decoder_laws(definitions.scalable_softmax_attention, draw.SCALABLE_CAUSAL, draw.SCALABLE)),
        bad_inputs=(*refused.SOFTMAX, refused.shape("factor", 99), NOT_FINITE["factor"], refused.kind("factor", None)),
        inputs=(Parameter("factor", "heads", 0.43),), **calls.growing(fastest.scalable_softmax_attention)),
)
