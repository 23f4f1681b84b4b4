"""Rows of the delta rules beyond the gated one: diagonal plus rank 1, decays per channel, several steps per token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tinyattn import definitions, fastest
from tinyattn.caches.state import StateCache
from tinyattn.catalog import delta_calls as calls
from tinyattn.catalog import refused
from tinyattn.catalog.cache_size import STATE
from tinyattn.catalog.calls import always_causal, with_unit_keys
from tinyattn.catalog.linear import recurrence
from tinyattn.catalog.row import Paper, Row
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import delta as draw
from tinyattn.laws.draw import linear
from tinyattn.laws.draw.options import but, long, on
from tinyattn.laws.draw.sizes import at_least, few_heads
from tinyattn.laws.general import agrees, form_agrees
from tinyattn.laws.law import Draw, Law, plain
from tinyattn.laws.linear import is_generalized, recurrence_laws, strong_decay, waits
from tinyattn.laws.oracles import delta as oracles
from tinyattn.laws.oracles.linear import UNNORMALISED
from tinyattn.laws.problem import Mechanism, Problem

RWKV = Paper("Peng et al.", 2025, "2503.14456")
PRODUCT = {form: calls.side_by_side(getattr(definitions, f"delta_product_{form}")) for form in ("recurrent", "chunked")}


def becomes(name: str, other: Mechanism, sample: Draw, change: Callable[[Problem], Problem], says: str, *,
            to: str | None = None) -> tuple[Law, ...]:
    """Returns the law that a mechanism whose arguments are chosen by `change` gives the same as another one on the problems drawn."""
    return (Law(f"equals_{name}", says, sample, lambda f, p: plain(f, change(p)), lambda f, p: plain(other, p), to=to),)


def generalizes(name: str, sample: Draw, says: str, other: Mechanism | None = None) -> tuple[Law, ...]:
    """Returns the law that the generalized delta rule becomes an older mechanism by a choice of its arguments."""
    return becomes(name, other or getattr(definitions, name), sample, draw.generalized_of, says, to=name)


def transitions(oracle: Mechanism, sample: Draw) -> tuple[Law, ...]:
    """Returns the law of a product of transitions."""
    return (agrees("a_product_of_transitions", oracle, draw=sample,
                   says="Multiplying what a token writes by one matrix for each later token, up to the query, gives the same "
                        "outputs."),)


ROWS = (
    recurrence(
        name="generalized_delta_rule",
        says="Each token reads the decaying state along one vector and writes what it read along another.",
        papers=(RWKV,), aliases=("dplr", "iplr", "diagonal plus low rank"), sample=draw.GENERAL, fit=few_heads,
        laws=(*transitions(oracles.generalized, draw.GENERAL),
              *generalizes("linear_attention", linear.gated(),
                           "Without decay and with read vectors of 0 it is linear attention.", UNNORMALISED),
              *generalizes("retention", linear.HEADS, "With one decay per head and read vectors of 0 it is retention."),
              *generalizes("simple_gated_linear_attention", linear.SCALAR,
                           "With one decay per token and read vectors of 0 it is simple gated linear attention."),
              *generalizes("gated_linear_attention", linear.CHANNELS, "With read vectors of 0 it is gated linear attention."),
              *generalizes("delta_rule", linear.BETA, "With read -beta k, write k, values beta v and no decay it is the delta rule."),
              *generalizes("gated_delta_rule", linear.BOTH,
                           "With read -beta exp(log_decay) k, write k and values beta v it is the gated delta rule."),
              agrees("identity_plus_rank_one", oracles.rank_one, draw=draw.undecayed(draw.GENERAL),
                     says="Without decay the transitions are the identity plus a matrix of rank 1 (IPLR)."),
              *becomes("gated_deltanet_2", oracles.erasing, draw.ERASING, draw.generalized_of_erasing,
                       "With read -exp(log_decay) erase k, write k and values keep v it is gated DeltaNet 2."),
              *becomes("kimi_delta_attention", definitions.kimi_delta_attention, draw.KIMI, draw.generalized_of_erasing_as_writing,
                       "Gated DeltaNet 2 with the same strength for erasing and for writing is Kimi delta attention.",
                       to="kimi_delta_attention"),
              *becomes("comba", oracles.comba, draw.COMBA, draw.generalized_of_comba,
                       "With read vectors of -beta times vectors other than k, write k and values beta v it is Comba in its chunked "
                       "form."),
              strong_decay("generalized_delta_rule", draw.GENERAL), waits(draw.GENERAL)),
        bad_inputs=(refused.shape("read", 1, 1), refused.shape("write", 1, 1), refused.GROWING_DECAY, refused.SCALE),
        inputs=calls.INPUTS["generalized_delta_rule"], mixer=calls.generalized),
    recurrence(
        name="kimi_delta_attention",
        says="The gated delta rule in which each channel of the state decays by a factor of its own.",
        papers=(Paper("Kimi Team", 2025, "2510.26692"),), aliases=("kda", "kimi linear"), sample=draw.KIMI, fit=few_heads,
        laws=(*transitions(oracles.kimi, draw.KIMI),
              agrees("gated_delta_rule", oracles.gated_delta_of_equal_channels, to="gated_delta_rule",
                     draw=but(draw.KIMI, linear.with_decay(linear.equal_channels)),
                     says="With the same decay in every channel it is the gated delta rule."),
              is_generalized(draw.KIMI, "read -beta exp(log_decay) k, write k and values beta v"),
              strong_decay("kimi_delta_attention", draw.KIMI), waits(draw.KIMI)),
        bad_inputs=(refused.BETA, refused.GROWING_DECAY, refused.SCALE), inputs=calls.INPUTS["kimi_delta_attention"],
        mixer=with_unit_keys(fastest.kimi_delta_attention)),
    Row(name="delta_product", definition=definitions.delta_product, papers=(Paper("Siems et al.", 2025, "2502.10297"),),
        cost="heads steps i d e",
        says="Each token decays the state once and then corrects it several times, before it is read.",
        aliases=("deltaproduct", "gated deltaproduct", "householder products"), sample=draw.several, fit=few_heads,
        forms={form: getattr(definitions, f"delta_product_{form}") for form in PRODUCT}, called=calls.side_by_side,
        laws=(*form_agrees("delta_product_chunked", PRODUCT["chunked"], draw.several, "Its chunked form gives the same outputs.",
                           slopes=on(draw.several, at_least(kv_len=2))),  # the decay of a single token has no gradient but 0
              agrees("delta_product_chunked_with_its_state", PRODUCT["chunked"], draw=but(draw.several, draw.with_state_of_a_step),
                     says="From the same initial state, its chunked form gives the same output and the same last state."),
              agrees("delta_product_chunked_by_three", partial(PRODUCT["chunked"], chunk=3), draw=draw.several,
                     says="Its chunked form gives the same with chunks of three steps."),
              cached(calls.cache_of_steps(definitions.delta_product_chunked), long(draw.several)),
              *transitions(oracles.several, draw.several),
              agrees("gated_delta_rule", oracles.gated_delta_of_one_step, to="gated_delta_rule", draw=draw.ONE_STEP,
                     says="With one step per token it is the gated delta rule."),
              agrees("gated_delta_rule_over_all_steps", oracles.over_all_steps(definitions.gated_delta_rule),
                     to="gated_delta_rule", draw=draw.several,
                     says="It is the gated delta rule over the steps of all tokens, with a decay before each token's first step and "
                          "a read after its last."),
              agrees("generalized_delta_rule_over_all_steps", oracles.over_all_steps(oracles.as_generalized),
                     to="generalized_delta_rule", draw=draw.several,
                     says="It is the generalized delta rule over the steps of all tokens, with read -beta exp(log_decay) k, write k "
                          "and values beta v."),
              agrees("no_decay", oracles.several, draw=draw.UNDECAYED_STEPS, says="Without log_decay the state does not decay."),
              waits(draw.several), *recurrence_laws(draw.several)),
        bad_inputs=(refused.BETA, refused.GROWING_DECAY, refused.SCALE), inputs=calls.INPUTS["delta_product"],
        mixer=always_causal(calls.two_steps), cache=partial(StateCache, calls.two_steps), cache_size=STATE),
    recurrence(
        name="rwkv7",
        says="Each token removes part of what the state holds along one vector, at a rate per channel, and adds its own value.",
        papers=(RWKV,), aliases=("rwkv-7", "goose"), sample=draw.RWKV7, fit=few_heads,
        laws=(*transitions(oracles.rwkv7, draw.RWKV7),
              *becomes("delta_rule", definitions.delta_rule, draw.STRENGTHS, draw.rwkv7_of,
                       "With removal k of length 1, rate beta, values beta v and no decay it is the delta rule.", to="delta_rule"),
              *becomes("gated_delta_rule", definitions.gated_delta_rule, draw.STRENGTHS_AND_DECAYS, draw.rwkv7_of,
                       "With removal k of length 1, rate beta exp(log_decay), values beta v and one decay per token it is the gated "
                       "delta rule.", to="gated_delta_rule"),
              agrees("gated_linear_attention", oracles.added, to="gated_linear_attention", draw=but(draw.RWKV7, draw.unremoved),
                     says="With removal vectors of 0 it is gated linear attention."),
              agrees("generalized_delta_rule", lambda q, k, v, log_decay, removal, rate: definitions.generalized_delta_rule(
                         q, k, v, log_decay=log_decay, read=-removal, write=rate * removal), to="generalized_delta_rule",
                     draw=draw.RWKV7, says="It is the generalized delta rule with read -removal and write rate removal."),
              strong_decay("rwkv7", draw.RWKV7), waits(draw.RWKV7)),
        bad_inputs=(refused.shape("removal", 1, 1), refused.shape("rate", 1, 1), refused.GROWING_DECAY, refused.SCALE),
        inputs=calls.INPUTS["rwkv7"], mixer=calls.rwkv7),
)
