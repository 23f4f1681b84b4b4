"""Faults in recurrences: when a state decays, what corrects it, which state is returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.definitions import linear_attention
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.ops.gates import behind
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.linear import with_state
from tinyattn.testing.broken.twin import Fault, Twin, twin

GLA, SSD, RETENTION = "gated_linear_attention", "simple_gated_linear_attention", "retention"
DELTA, GATED_DELTA = "delta_rule", "gated_delta_rule"
FORMS = {GLA: ("parallel", "recurrent"), SSD: ("recurrent", "chunked"), RETENTION: ("recurrent", "chunked"), DELTA: ("chunked",),
         GATED_DELTA: ("chunked",)}


def forms(row: str, law: str) -> tuple[str, ...]:
    """Returns the names of a law for each of a row's other forms."""
    return tuple(law.format(f"{row}_{form}") for form in FORMS[row])


def outputs_of(row: str) -> tuple[str, ...]:
    """Returns the names of the laws that compare the outputs of forms."""
    return (*forms(row, "equals_{}"), f"equals_{row}_chunked_by_three")


def in_rows(fault: Fault, laws: Callable[[str], tuple[str, ...]], *rows: str) -> tuple[Twin, ...]:
    """Returns a fault as one twin per row."""
    says = (fault.__doc__ or "").split("\n")[0]
    return tuple(Twin(f"{fault.__name__}_in_{row}", says, laws(row), fault, row) for row in rows)


def decay(p: Problem) -> Any:
    """Returns the log decays with an axis for channels, or as one number per head."""
    x = p.options["log_decay"]
    return x if x.ndim == p.k.ndim else x[..., None] if x.ndim == p.k.ndim - 1 else x[:, None, None]


def initial_state_forgotten(f: Mechanism, p: Problem) -> Any:
    """Every call starts from an empty state."""
    return p.but(initial_state=None).call(f)


def gates_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The gradient of the gates is not computed."""
    return p.but(**{name: stopped(p.options[name]) for name in ("log_decay", "beta") if name in p.options}).call(f)


def waiting_tokens_fade(f: Mechanism, p: Problem) -> Any:
    """Padding is treated like a token: the state decays a little with it."""
    out = p.call(f)
    if not isinstance(out, tuple):
        return out
    waited = np.all(p.k == 0, axis=-1).sum(axis=-1)[..., None, None]
    return out[0], out[1] * 0.99 ** waited


def state_not_faded(f: Mechanism, p: Problem) -> Any:
    """From one chunk of two tokens to the next, the state does not decay."""
    states, outs, first = p.options.get("initial_state"), [], p.k.shape[-2] - p.q.shape[-2]
    every = p.but(q=behind(p.q, first))
    for start in range(0, p.k.shape[-2], 2):
        part = every.tokens(slice(start, start + 2)).but(return_state=True)
        outs.append(part.but(initial_state=states).call(f)[0])
        own = part.but(initial_state=None).call(f)[1]
        states = own if states is None else states + own
    out = np.concatenate(outs, axis=-2)[..., first:, :]
    return (out, states) if p.options.get("return_state") else out


CARRIED = "a_state_carries_all_that_came_before"
STATES = in_rows(initial_state_forgotten, lambda row: (*forms(row, "equals_{}_with_its_state"), CARRIED), *FORMS)
GATES = in_rows(gates_do_not_learn, lambda row: forms(row, "gradients_equal_{}"), *FORMS)
WAITING = in_rows(waiting_tokens_fade, lambda row: ("a_token_of_zeros_only_waits",), GLA, SSD, DELTA, GATED_DELTA)
CHUNKS = in_rows(state_not_faded, lambda row: (*outputs_of(row), "cached_is_full"), GLA, SSD, RETENTION)


@twin(*outputs_of(GLA), "equals_simple_gated_linear_attention", "equals_forget_gates", row=GLA)
def own_gate_on_the_key(f: Mechanism, p: Problem) -> Any:
    """The decay comes after the write: a key decays by its own token's gate."""
    return p.but(k=p.k * np.exp(decay(p))).call(f)


@twin(*outputs_of(SSD), "equals_one_matrix", row=SSD)
def decays_a_token_late(f: Mechanism, p: Problem) -> Any:
    """A token reads before the state has decayed: the gate of the token before is applied."""
    gates = p.options["log_decay"]
    return p.but(log_decay=np.concatenate((np.zeros_like(gates[..., :1]), gates[..., :-1]), axis=-1)).call(f)


@twin("equals_linear_attention", row=SSD)
def softplus_always_on(f: Mechanism, p: Problem) -> Any:
    """The step goes through softplus once more: no token can leave the state unchanged."""
    return p.but(log_decay=p.options["log_decay"] - 0.05).call(f)


@twin("a_strong_decay_overflows_nowhere", row=GLA)
def decays_factored(f: Mechanism, p: Problem) -> Any:
    """Queries are multiplied by exp(+sum of logs) and keys by exp(-sum), which overflows if a state decays fast."""
    if p.options.get("initial_state") is not None or p.options.get("return_state"):
        return p.call(f)
    before = np.cumsum(p.options["log_decay"], axis=-2)
    first = p.k.shape[-2] - p.q.shape[-2]
    asked, keys, values = repeat_heads(p.q, before[..., first:, :], p.k * np.exp(-before), p.v)
    return np.tril((p.q * np.exp(asked)) @ keys.mT, first) @ values


@twin(*outputs_of(RETENTION), "equals_simple_gated_linear_attention", row=RETENTION)
def own_token_fades_too(f: Mechanism, p: Problem) -> Any:
    """Distances are counted from 1: with gamma^(i - j + 1) a token's own value has already decayed."""
    groups = p.q.shape[-3] // p.k.shape[-3]
    return with_state(p.call(f), lambda out: out * np.repeat(np.exp(p.options["log_decay"]), groups)[:, None, None])


@twin("equals_delta_rule_chunked", "equals_delta_rule_chunked_by_three", "equals_zero", "equals_linear_attention", row=DELTA)
def beta_forgotten(f: Mechanism, p: Problem) -> Any:
    """Every token writes with strength 1."""
    return p.but(beta=np.ones_like(p.options["beta"])).call(f)


@twin("equals_the_value_just_written", row=DELTA)
def read_before_the_write(f: Mechanism, p: Problem) -> Any:
    """A token reads the state before it writes: its own value is still missing."""
    def late(x: Any, axis: int) -> Any:
        first, rest = np.split(x, [x.shape[axis] - 1], axis=axis)
        return np.concatenate((np.zeros_like(rest), first), axis=axis)

    return p.but(k=late(p.k, -2), v=late(p.v, -2), beta=late(p.options["beta"], -1)).call(f)


@twin("equals_delta_rule_chunked", "equals_the_value_just_written", row=DELTA)
def added_and_not_corrected(f: Mechanism, p: Problem) -> Any:
    """A token adds its value without subtracting the stored one: a repeated key holds the sum of both values."""
    given = {name: x for name, x in p.options.items() if name != "beta"}
    return linear_attention(p.q, p.k, p.v * p.options["beta"][..., None], feature_map=None, normalize=False, causal=True, **given)


def stepped(p: Problem, step: Callable[..., Any]) -> Any:
    """Returns the gated delta rule computed one token at a time, by step(state, decay, key, value, beta)."""
    state, outs = p.options.get("initial_state"), []
    state = np.zeros((*p.k.shape[:-2], p.k.shape[-1], p.v.shape[-1]), p.k.dtype) if state is None else state
    first = p.k.shape[-2] - p.q.shape[-2]
    queries = behind(p.q, first)
    for t in range(p.k.shape[-2]):
        state = step(state, np.exp(p.options["log_decay"][..., t, None, None]), p.k[..., t, :, None], p.v[..., t, None, :],
                     p.options["beta"][..., t, None, None])
        outs.append(queries[..., t : t + 1, :] @ repeat_heads(p.q, state)[0])
    out = np.concatenate(outs, axis=-2)[..., first:, :]
    return (out, state) if p.options.get("return_state") else out


@twin(*outputs_of(GATED_DELTA), row=GATED_DELTA)
def corrected_by_the_undecayed(f: Mechanism, p: Problem) -> Any:
    """The stored value of a key is read before the state has decayed."""
    return stepped(p, lambda s, a, k, v, b: a * s + k * (b * (v - k.mT @ s)))


@twin("cached_is_full", *outputs_of(GATED_DELTA), row=GATED_DELTA)
def faded_after_the_write(f: Mechanism, p: Problem) -> Any:
    """The state decays after it has been corrected, and the new value with it."""
    return stepped(p, lambda s, a, k, v, b: a * (s + k * (b * (v - k.mT @ s))))


@twin("equals_delta_rule", row=GATED_DELTA)
def strength_halved(f: Mechanism, p: Problem) -> Any:
    """A strength in (0, 2) is halved, as if it had been scaled to (0, 1)."""
    return p.but(beta=0.5 * p.options["beta"]).call(f)
