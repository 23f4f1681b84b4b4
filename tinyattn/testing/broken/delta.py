"""Faults in the delta rules beyond the gated one: what is read before or after a decay, along which vector, at which step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import generalized_delta_rule
from tinyattn.laws.oracles.delta import in_turn
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array
from tinyattn.testing.broken.linear import with_state
from tinyattn.testing.broken.recurrent import CARRIED, gates_do_not_learn, in_rows, initial_state_forgotten
from tinyattn.testing.broken.twin import twin

GENERAL, KIMI, PRODUCT, RWKV7 = "generalized_delta_rule", "kimi_delta_attention", "delta_product", "rwkv7"
ROWS, WALKED = (GENERAL, KIMI, PRODUCT, RWKV7), "equals_a_product_of_transitions"


def chunked(row: str) -> tuple[str, str]:
    """Returns the names of the laws that compare the outputs of a row's forms."""
    return f"equals_{row}_chunked", f"equals_{row}_chunked_by_three"


STATES = in_rows(initial_state_forgotten, lambda row: (f"equals_{row}_chunked_with_its_state", CARRIED), *ROWS)
GATES = in_rows(gates_do_not_learn, lambda row: (f"gradients_equal_{row}_chunked",), *ROWS)


@twin(WALKED, *chunked(GENERAL), "equals_comba", row=GENERAL)
def read_after_the_decay(f: Mechanism, p: Problem) -> Any:
    """A token reads the state after it has decayed, as a delta rule does that decays first."""
    return p.but(read=p.options["read"] * np.exp(p.options["log_decay"])).call(f)


@twin(WALKED, "equals_generalized_delta_rule_chunked", "equals_gated_deltanet_2", "equals_kimi_delta_attention",
      row=GENERAL)
def read_and_write_exchanged(f: Mechanism, p: Problem) -> Any:
    """What is read along one vector is written along it, too: the low-rank part is transposed."""
    return p.but(read=p.options["write"], write=p.options["read"]).call(f)


@twin(WALKED, "equals_generalized_delta_rule_chunked", "equals_identity_plus_rank_one", row=GENERAL)
def read_after_the_write(f: Mechanism, p: Problem) -> Any:
    """A token reads the state after it has added its own value, which is then written twice."""
    read, write = p.options["read"], p.options["write"]
    return p.but(k=p.k + write * np.sum(read * p.k, axis=-1, keepdims=True)).call(f)


@twin(WALKED, "equals_generalized_delta_rule_chunked", "equals_delta_rule", "equals_gated_delta_rule", row=GENERAL)
def delta_rule_adds_what_it_reads(f: Mechanism, p: Problem) -> Any:
    """The sign of the correction is lost: what is stored under a key is added once more instead of removed."""
    return p.but(read=-p.options["read"]).call(f)


@twin(WALKED, "equals_retention", "equals_simple_gated_linear_attention", "equals_gated_linear_attention", row=GENERAL)
def own_decay_on_the_key(f: Mechanism, p: Problem) -> Any:
    """The decay comes after the write: a key decays by its own token's gate."""
    return p.but(k=p.k * np.exp(p.options["log_decay"])).call(f)


@twin("equals_linear_attention", "equals_delta_rule", "equals_identity_plus_rank_one", row=GENERAL)
def never_without_decay(f: Mechanism, p: Problem) -> Any:
    """A log decay is kept below -0.05: no token leaves the state as it is."""
    return p.but(log_decay=np.minimum(p.options["log_decay"], -0.05)).call(f)


def generally(p: Problem, read: Array, decay: Array) -> Any:
    """Returns Kimi delta attention by the generalized delta rule, with a read vector and a decay that may be wrong."""
    given = p.without("beta", "log_decay").but(v=p.v * p.options["beta"][..., None])
    return given.call(generalized_delta_rule, log_decay=decay, read=read, write=p.k)


@twin(WALKED, "equals_generalized_delta_rule", "equals_gated_delta_rule", row=KIMI)
def corrected_by_the_state_before_its_decay(f: Mechanism, p: Problem) -> Any:
    """The stored value of a key is read before the channels have decayed, as in RWKV-7."""
    return generally(p, -p.options["beta"][..., None] * p.k, p.options["log_decay"])


@twin(WALKED, *chunked(KIMI), "equals_generalized_delta_rule", row=KIMI)
def one_decay_for_all_channels(f: Mechanism, p: Problem) -> Any:
    """The decays of the channels are averaged, as if a head had a single one."""
    decay = p.options["log_decay"]
    return p.but(log_decay=np.mean(decay, axis=-1, keepdims=True) + np.zeros_like(decay)).call(f)


@twin(WALKED, "equals_generalized_delta_rule", "equals_gated_delta_rule", row=KIMI)
def everything_stored_is_removed(f: Mechanism, p: Problem) -> Any:
    """The strength multiplies the value alone: what a key holds is removed entirely."""
    decay = p.options["log_decay"]
    return generally(p, -np.exp(decay) * p.k, decay)


def steps(p: Problem) -> int:
    """Returns how many steps a token has, which stand side by side."""
    return int(p.options["beta"].shape[-1])


def apart(x: Array, count: int) -> Array:
    """Returns the steps of tokens on an axis of their own: (..., j, steps d) -> (..., j, steps, d)."""
    return x.reshape(*x.shape[:-1], count, x.shape[-1] // count)


@twin(WALKED, *chunked(PRODUCT), "equals_gated_delta_rule_over_all_steps", "equals_generalized_delta_rule_over_all_steps", row=PRODUCT)
def decays_at_every_step(f: Mechanism, p: Problem) -> Any:
    """The state decays before each step of a token instead of once per token."""
    decay, count = p.options["log_decay"], steps(p)
    if decay is None:
        return p.call(f)
    one = p.but(q=np.repeat(p.q, count, axis=-2), k=in_turn(p.k, count), v=in_turn(p.v, count), beta=in_turn(p.options["beta"], count),
                log_decay=np.repeat(decay, count, axis=-1))
    return with_state(one.call(f), lambda out: out[..., count - 1 :: count, :])


@twin(WALKED, "equals_delta_product_chunked", "equals_gated_delta_rule_over_all_steps", "equals_no_decay", row=PRODUCT)
def steps_in_reverse_order(f: Mechanism, p: Problem) -> Any:
    """The last step of a token is made first: products of reflections do not commute."""
    count = steps(p)
    k, v = (apart(x, count)[..., ::-1, :].reshape(x.shape) for x in (p.k, p.v))
    return p.but(k=k, v=v, beta=p.options["beta"][..., ::-1]).call(f)


@twin(WALKED, "equals_delta_product_chunked", "equals_gated_delta_rule_over_all_steps", "cached_is_full", row=PRODUCT)
def steps_in_blocks(f: Mechanism, p: Problem) -> Any:
    """All first steps stand before all second ones: keys of one token are taken for those of several."""
    count = steps(p)

    def blocks(x: Array) -> Array:
        return np.swapaxes(apart(x, count), -3, -2).reshape(x.shape)

    return p.but(k=blocks(p.k), v=blocks(p.v), beta=blocks(p.options["beta"])).call(f)


@twin(WALKED, "equals_delta_product_chunked", "equals_gated_delta_rule_over_all_steps", "equals_no_decay", row=PRODUCT)
def strengths_halved(f: Mechanism, p: Problem) -> Any:
    """Strengths up to 2 are brought into the range up to 1: no step is a reflection any more."""
    return p.but(beta=0.5 * p.options["beta"]).call(f)


@twin(WALKED, *chunked(RWKV7), "equals_generalized_delta_rule", row=RWKV7)
def removed_after_the_decay(f: Mechanism, p: Problem) -> Any:
    """What is removed is read from the state after its decay."""
    decay, removal = p.options["log_decay"], p.options["removal"]
    given = p.without("removal", "rate")
    return given.call(generalized_delta_rule, read=-np.exp(decay) * removal, write=p.options["rate"] * removal)


@twin(WALKED, "equals_generalized_delta_rule", "equals_rwkv7_chunked", row=RWKV7)
def rate_where_it_reads(f: Mechanism, p: Problem) -> Any:
    """The rate weighs the channels that are read instead of those that are written."""
    removal, rate = p.options["removal"], p.options["rate"]
    return p.without("removal", "rate").call(generalized_delta_rule, read=-rate * removal, write=removal)


@twin(WALKED, "equals_generalized_delta_rule", "equals_delta_rule", "equals_gated_delta_rule", row=RWKV7)
def removal_adds(f: Mechanism, p: Problem) -> Any:
    """The sign of the removal is lost: what is stored along the vector grows."""
    return p.but(rate=-p.options["rate"]).call(f)


@twin(WALKED, "equals_generalized_delta_rule", "equals_gated_linear_attention", row=RWKV7)
def decays_once_more(f: Mechanism, p: Problem) -> Any:
    """A log decay w is taken for the layer's logit, whose decay is exp(-exp(w))."""
    return p.but(log_decay=-np.exp(p.options["log_decay"])).call(f)
