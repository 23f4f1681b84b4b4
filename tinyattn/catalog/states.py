"""Rows of other mechanisms with a state: a fixed slope per head, a read before the write, exponential gates, the last inputs."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.caches.state import StateCache
from tinyattn.catalog import refused
from tinyattn.catalog.calls import always_causal
from tinyattn.catalog.linear import recurrence
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.state_calls import CONVOLUTION, CONVOLVED, MEMORY, TAPS, minimax, of_values, with_unit_keys
from tinyattn.laws.budget import anywhere
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import states as draw
from tinyattn.laws.draw.options import but, given, long
from tinyattn.laws.general import agrees, form_agrees, mixing_laws
from tinyattn.laws.law import Law, plain, unchanged
from tinyattn.laws.linear import is_generalized, last_state, state_is_carried, strong_decay, waits
from tinyattn.laws.masking import causal
from tinyattn.laws.oracles import states as oracles
from tinyattn.laws.oracles.calls import own_values
from tinyattn.laws.states import later_decay, of_scaled_queries, only_output, shut_after
from tinyattn.layers.inputs import Input, Parameter, identity, log_sigmoid
from tinyattn.ops.convolution import causal_convolution

GATES = tuple(Input.of(definitions.mlstm, name, identity, initial) for name, initial in (("input_gate", 0.0), ("forget_gate", 4.0)))

ROWS = (
    recurrence(
        name="lightning_attention",
        says="The state decays by the fixed factor exp(-slope) of each head; a rule sets the slopes of all heads and layers.",
        papers=(Paper("Qin et al.", 2024, "2401.04658"), Paper("MiniMax", 2025, "2501.08313")),
        aliases=("minimax", "transnormer"), sample=draw.SLOPES,
        laws=(agrees("retention", oracles.retention_by_slopes, to="retention", draw=draw.SLOPES,
                     says="It is retention whose log decays are the negative slopes."),
              agrees("linear_attention", oracles.sums_of_all, to="linear_attention", draw=but(draw.SLOPES, draw.with_slopes(0.0)),
                     says="With slopes of 0 it is linear attention."),
              is_generalized(draw.SLOPES, "read vectors of 0 and the negative slope as the decay of every channel and token"),
              agrees("every_pair", oracles.fading_by_distance, draw=draw.SLOPES,
                     says="Summing over all pairs of tokens, without a state, gives the same outputs.")),
        bad_inputs=(BadInput({"slopes": np.full(2, -1.0)}, ValueError, ("slopes", "at least 0")), refused.shape("slopes", 99),
                    refused.SCALE), mixer=minimax),
    recurrence(
        name="rwkv6",
        says="Each token reads the state before it writes into it, and its own value through a bonus; the state decays per channel.",
        papers=(Paper("Peng et al.", 2024, "2404.05892"),), aliases=("rwkv-6", "finch"), sample=draw.BONUS,
        laws=(agrees("gated_linear_attention", oracles.read_a_token_later, to="gated_linear_attention", draw=draw.BONUS,
                     says="Each query reads the state of gated linear attention after the token before it, and its own token through "
                          "the bonus."),
              agrees("linear_attention", oracles.sums_of_all, to="linear_attention", draw=but(draw.BONUS, draw.plain_sums),
                     says="Without decay and with a bonus of 1 it is linear attention."),
              agrees("every_pair", oracles.decays_strictly_between, draw=draw.BONUS,
                     says="Summing over all pairs of tokens, without a state, gives the same outputs."),
              unchanged("the_decay_of_a_query_is_not_read", "The decay of the last token changes no output.", draw.BONUS, later_decay),
              Law("its_state_is_that_of_gated_linear_attention", "The last state is that of gated linear attention.", long(draw.BONUS),
                  last_state, lambda f, p: last_state(definitions.gated_linear_attention, p.without("bonus")),
                  to="gated_linear_attention"),
              strong_decay("rwkv6", draw.BONUS), waits(draw.BONUS)),
        bad_inputs=(refused.GROWING_DECAY, refused.shape("bonus", 99), refused.SCALE),
        inputs=(Input.of(definitions.rwkv6, "log_decay", log_sigmoid, 4.0), Parameter("bonus", "kv_heads head_dim", 1.0))),
    recurrence(
        name="mlstm",
        says="Tokens are written with the exponential of a gate; what is read is divided by what values of 1 would give, or by 1 if "
             "that is more.",
        papers=(Paper("Beck et al.", 2024, "2405.04517"),), aliases=("xlstm", "matrix lstm"), sample=draw.EXPONENTIAL,
        stated=draw.with_memory, cache_size=MEMORY,
        laws=(agrees("simple_gated_linear_attention", oracles.strengths_in_the_keys, to="simple_gated_linear_attention",
                     draw=draw.EXPONENTIAL,
                     says="It is simple gated linear attention with keys exp(input_gate) k, divided by the absolute value of "
                          "the same sum with values of 1, or by 1 if that is larger."),
              agrees("linear_attention", oracles.means_of_all, to="linear_attention", draw=but(draw.EXPONENTIAL, draw.open_gates),
                     says="With input gates of 0, forget gates so large that nothing decays, and weights that sum to 1 or more it is "
                          "normalised linear attention."),
              agrees("every_pair", oracles.exponential_weights, draw=draw.EXPONENTIAL,
                     says="Summing over all pairs of tokens, without a state, gives the same outputs."),
              Law("the_scale_multiplies_both",
                  "A scale is a factor of the queries: it multiplies both the numerator and the denominator.",
                  draw.EXPONENTIAL, of_scaled_queries, lambda f, p: plain(f, p.but(scale=0.3))),
              Law("a_state_may_be_relative_to_any_maximum",
                  "Only the product S exp(m) matters: a state with another m and the same product gives the same outputs.",
                  but(long(draw.EXPONENTIAL), draw.with_memory), only_output, lambda f, p: only_output(f, draw.moved_memory(p))),
              Law("gates_of_any_size_overflow_nowhere", "Gates whose exponentials overflow give the same as the recurrent form.",
                  but(draw.EXPONENTIAL, draw.extreme_gates), plain, lambda f, p: plain(definitions.mlstm_recurrent, p), pool=anywhere),
              Law("a_shut_token_only_waits", "A token with an input gate of -inf and a forget gate of inf leaves the state unchanged.",
                  long(draw.EXPONENTIAL), last_state, lambda f, p: last_state(f, shut_after(p)))),
        bad_inputs=(refused.shape("input_gate", 1, 1), refused.shape("forget_gate", 99),
                    BadInput({"initial_state": np.ones(1)}, TypeError, ("initial_state", "triple")), refused.SCALE),
        inputs=GATES, mixer=with_unit_keys),
    Row(name="causal_convolution", definition=definitions.causal_convolution, called=of_values,
        papers=(Paper("Dao and Gu", 2024, "2405.21060"),), cost="heads i e width",
        says="Each channel of a token is mixed with the same channel of the tokens just before it.",
        aliases=("short convolution", "conv1d", "depthwise convolution"), sample=draw.TAPS,
        forms={"recurrent": definitions.causal_convolution_recurrent},
        laws=(*form_agrees("every_tap", oracles.tap_by_tap, draw.TAPS,
                           "Summing the taps of each token one by one gives the same outputs.", slopes=draw.TAPS),
              agrees("all_tokens_at_once", of_values(causal_convolution), draw=but(draw.TAPS, draw.with_inputs),
                     says="All tokens at once, one tap after the other, give the same, and the same state."),
              agrees("linear_attention", oracles.running_sums, to="linear_attention", draw=but(draw.TAPS, draw.taps_of_1),
                     says="With as many taps as tokens, all of them 1, it is linear attention whose features are all 1."),
              agrees("own_values", own_values, draw=but(draw.TAPS, draw.own_tap),
                     says="With a last tap of 1 and all other taps 0 every token reads its own value."),
              cached(partial(StateCache, CONVOLUTION), long(draw.TAPS)), state_is_carried(long(draw.TAPS)), causal(draw.TAPS),
              *mixing_laws(given(draw.TAPS, bias=None), heads=False)),
        bad_inputs=(refused.shape("weight", 99, 2), refused.shape("bias", 99), refused.shape("initial_state", 1, 1),
                    refused.kind("return_state", 1)),
        inputs=(Parameter("weight", f"kv_heads head_dim {TAPS}", 1 / TAPS),), mixer=always_causal(CONVOLUTION),
        cache=partial(StateCache, CONVOLUTION), cache_size=CONVOLVED),
)
