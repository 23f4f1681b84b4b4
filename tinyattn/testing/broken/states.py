"""Faults in further states: what a slope belongs to, when RWKV-6 reads, what divides in mLSTM, which token a tap meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.ops.gates import behind
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.linear import with_state
from tinyattn.testing.broken.recurrent import CARRIED, initial_state_forgotten
from tinyattn.testing.broken.twin import Twin, twin

LIGHTNING, RWKV, MLSTM, CONVOLUTION = "lightning_attention", "rwkv6", "mlstm", "causal_convolution"
ROWS = (LIGHTNING, RWKV, MLSTM)


def outputs_of(row: str) -> tuple[str, ...]:
    """Returns the names of the laws that compare the outputs of a row with its chunked form and with pairs of tokens."""
    return f"equals_{row}_chunked", f"equals_{row}_chunked_by_three", "equals_every_pair"


def gates_learn_nothing(f: Mechanism, p: Problem) -> Any:
    """The gradient of slopes, bonuses and exponential gates is not computed."""
    gates = ("slopes", "bonus", "input_gate", "forget_gate")
    return p.but(**{name: stopped(p.options[name]) for name in gates if name in p.options}).call(f)


STATES = tuple(Twin(f"initial_state_forgotten_in_{row}", "Every call starts from an empty state.",
                    (CARRIED, f"equals_{row}_chunked_with_its_state"), initial_state_forgotten, row) for row in ROWS)
GATES = tuple(Twin(f"gates_learn_nothing_in_{row}", "The gradient of slopes, bonuses and exponential gates is not computed.",
                   (f"gradients_equal_{row}_chunked",), gates_learn_nothing, row) for row in ROWS)


@twin("equals_retention", "a_head_reads_its_group", row=LIGHTNING)
def slopes_of_other_heads(f: Mechanism, p: Problem) -> Any:
    """Query head h fades by the slope of key head h % kv_heads instead of that of its own group."""
    if p.options.get("initial_state") is not None or p.options.get("return_state"):
        return p.call(f)
    return p.repeated().but(slopes=np.resize(p.options["slopes"], p.q.shape[-3])).call(f)


@twin(*outputs_of(LIGHTNING), "equals_retention", row=LIGHTNING)
def a_slope_for_the_own_token(f: Mechanism, p: Problem) -> Any:
    """Distances are counted from 1, as in a table of decays that begins with the first power: a token's own value has faded."""
    faded = np.exp(-np.repeat(p.options["slopes"], p.q.shape[-3] // p.k.shape[-3]))[:, None, None]
    return with_state(p.call(f), lambda out: out * faded)


@twin("equals_linear_attention", row=LIGHTNING)
def a_slope_of_0_is_not_given(f: Mechanism, p: Problem) -> Any:
    """A slope of 0 counts as not given, and a small one is used: the head that should never forget does."""
    return p.but(slopes=np.maximum(p.options["slopes"], np.asarray(0.01, p.q.dtype))).call(f)


def stepped(p: Problem, step: Callable[..., tuple[Any, Any]]) -> Any:
    """Returns RWKV-6 one token at a time, by step(state, decay, written, bonus) -> (what is read, the next state)."""
    state, outs = p.options.get("initial_state"), []
    state = np.zeros((*p.k.shape[:-2], p.k.shape[-1], p.v.shape[-1]), p.k.dtype) if state is None else state
    first = p.k.shape[-2] - p.q.shape[-2]
    queries, bonus = behind(p.q, first), p.options["bonus"][..., None]
    for t in range(p.k.shape[-2]):
        read, state = step(state, np.exp(p.options["log_decay"][..., t, :, None]), p.k[..., t, :, None] * p.v[..., t, None, :], bonus)
        outs.append(queries[..., t : t + 1, :] @ repeat_heads(p.q, read)[0])
    out = np.concatenate(outs, axis=-2)[..., first:, :]
    return (out, state) if p.options.get("return_state") else out


@twin(*outputs_of(RWKV), "equals_gated_linear_attention", "the_decay_of_a_query_is_not_read", row=RWKV)
def faded_before_it_is_read(f: Mechanism, p: Problem) -> Any:
    """The state decays by the query's own token before it is read, as in gated linear attention."""
    return stepped(p, lambda s, a, w, u: (a * s + u * w, a * s + w))


@twin("equals_linear_attention", "equals_gated_linear_attention", row=RWKV)
def written_before_it_is_read(f: Mechanism, p: Problem) -> Any:
    """A token is written before it reads: it reads itself once from the state and once by the bonus."""
    return stepped(p, lambda s, a, w, u: (s + w + u * w, a * s + w))


@twin("its_state_is_that_of_gated_linear_attention", "cached_is_full", row=RWKV)
def the_bonus_is_kept(f: Mechanism, p: Problem) -> Any:
    """What a token writes is multiplied by the bonus, so that later tokens read it too."""
    return stepped(p, lambda s, a, w, u: (s + u * w, a * s + u * w))


@twin("a_token_of_zeros_only_waits", row=RWKV)
def an_own_floor_under_the_decay(f: Mechanism, p: Problem) -> Any:
    """The decay is exp(-exp(w)) with w clipped from below: no token can leave the state as it is."""
    return p.but(log_decay=np.minimum(p.options["log_decay"], -1e-3)).call(f)


@twin("a_strong_decay_overflows_nowhere", row=RWKV)
def decays_divided_out(f: Mechanism, p: Problem) -> Any:
    """Keys are divided by their running products of decays, which overflows if a state decays fast."""
    if p.options.get("initial_state") is not None or p.options.get("return_state"):
        return p.call(f)
    total = np.cumsum(p.options["log_decay"], axis=-2)
    first, before = p.k.shape[-2] - p.q.shape[-2], total - p.options["log_decay"]
    asked, keys, values = repeat_heads(p.q, before[..., first:, :], p.k * np.exp(-total), p.v)
    own, bonus = repeat_heads(p.q, p.k[..., first:, :], p.options["bonus"][:, None, :])
    mine = np.sum(p.q * bonus * own, axis=-1, keepdims=True) * values[..., first:, :]
    return np.tril((p.q * np.exp(asked)) @ keys.mT, first - 1) @ values + mine


def divided(p: Problem, divide: Callable[..., Any]) -> Any:
    """Returns mLSTM one token at a time, by divide(sums, total, m, scale): both relative to m, both with the scale in them."""
    given = p.options.get("initial_state")
    shape = (*p.k.shape[:-2], p.k.shape[-1], p.v.shape[-1])
    state, total, m = given or (np.zeros(shape), np.zeros(shape[:-1]), np.full(shape[:-2], -np.inf))
    first, outs, factor = p.k.shape[-2] - p.q.shape[-2], [], p.options.get("scale") or 1.0
    queries = behind(p.q, first)
    for t in range(p.k.shape[-2]):
        wrote, kept = p.options["input_gate"][..., t], -np.logaddexp(0, -p.options["forget_gate"][..., t])
        largest = np.maximum(kept + m, wrote)
        fade, key = np.exp(kept + m - largest), np.exp(wrote - largest)[..., None] * p.k[..., t, :]
        state, m = fade[..., None, None] * state + key[..., None] * p.v[..., t, None, :], largest
        total = fade[..., None] * total + key
        q, s, n, mine = (queries[..., t, :], *repeat_heads(p.q, state, total[..., None], m[..., None, None]))
        outs.append(divide(q[..., None, :] @ s * factor, q[..., None, :] @ n * factor, mine, factor))
    out = np.concatenate(outs, axis=-2)[..., first:, :].astype(p.q.dtype)
    last = tuple(x.astype(p.q.dtype) for x in (state, total, m))
    return (out, last) if p.options.get("return_state") else out


@twin(*outputs_of(MLSTM), "equals_simple_gated_linear_attention", row=MLSTM)
def one_stays_one(f: Mechanism, p: Problem) -> Any:
    """Sums are kept relative to the maximum, and the 1 that bounds the divisor is not."""
    return divided(p, lambda s, n, m, c: s / np.maximum(np.abs(n), 1))


@twin("equals_linear_attention", "equals_simple_gated_linear_attention", row=MLSTM)
def an_epsilon_beside_the_divisor(f: Mechanism, p: Problem) -> Any:
    """The divisor is increased by 1e-6, as in transformers."""
    return divided(p, lambda s, n, m, c: s / (np.maximum(np.abs(n), np.exp(-m)) + 1e-6))


@twin("equals_every_pair", row=MLSTM)
def a_negative_total_counts_as_small(f: Mechanism, p: Problem) -> Any:
    """The total is bounded from below without its absolute value."""
    return divided(p, lambda s, n, m, c: s / np.maximum(n, np.exp(-m)))


@twin("the_scale_multiplies_both", row=MLSTM)
def a_scale_above_alone(f: Mechanism, p: Problem) -> Any:
    """The scale multiplies what is divided and not the total that divides it."""
    return divided(p, lambda s, n, m, c: s / np.maximum(np.abs(n / c), np.exp(-m)))


@twin("a_state_may_be_relative_to_any_maximum", row=MLSTM)
def the_maximum_is_not_handed_over(f: Mechanism, p: Problem) -> Any:
    """The maximum of an initial state is taken as 0: what it stands for is another state."""
    if (given := p.options.get("initial_state")) is None:
        return p.call(f)
    return p.but(initial_state=(*given[:2], np.zeros_like(given[2]))).call(f)


@twin("gates_of_any_size_overflow_nowhere", row=MLSTM)
def exponentials_as_they_stand(f: Mechanism, p: Problem) -> Any:
    """Strengths are exponentials of the input gates, without a running maximum: a gate of 900 is inf."""
    if p.options.get("initial_state") is not None or p.options.get("return_state"):
        return p.call(f)
    wrote = np.exp(p.options["input_gate"])[..., None]
    zero = np.zeros_like(p.options["input_gate"])
    return p.but(k=p.k * wrote, input_gate=zero).call(f)


@twin("a_shut_token_only_waits", row=MLSTM)
def an_input_gate_that_never_shuts(f: Mechanism, p: Problem) -> Any:
    """Input gates are clipped at -10: every token is written a little."""
    return p.but(input_gate=np.maximum(p.options["input_gate"], np.asarray(-10.0, p.q.dtype))).call(f)


@twin("equals_every_tap", "equals_own_values", "equals_all_tokens_at_once", row=CONVOLUTION)
def taps_from_the_front(f: Mechanism, p: Problem) -> Any:
    """The first tap belongs to the token itself, as a convolution is written in textbooks: the taps are reversed."""
    return p.but(weight=p.options["weight"][..., ::-1]).call(f)


@twin("equals_linear_attention", row=CONVOLUTION)
def activated_inside(f: Mechanism, p: Problem) -> Any:
    """SiLU is applied inside, as the layers that use the convolution do after it."""
    return with_state(p.call(f), lambda out: out / (1 + np.exp(-out)))


@twin("later_tokens_change_nothing_earlier", row=CONVOLUTION)
def padded_on_both_sides(f: Mechanism, p: Problem) -> Any:
    """Zeros stand on both sides, half of them behind: the taps in the middle meet the token itself."""
    ahead = p.options["weight"].shape[-1] // 2
    zeros = np.zeros_like(p.v[..., :ahead, :])
    return p.but(v=np.concatenate((p.v[..., ahead:, :], zeros[..., : p.v.shape[-2], :]), axis=-2)).call(f)


@twin("a_state_carries_all_that_came_before", row=CONVOLUTION)
def outputs_in_the_state(f: Mechanism, p: Problem) -> Any:
    """The state holds the last outputs instead of the last inputs."""
    out = p.call(f)
    if not isinstance(out, tuple) or p.q.shape[-3] != p.v.shape[-3]:
        return out
    given = np.swapaxes(out[0], -1, -2).reshape(*p.v.shape[:-3], -1, p.q.shape[-2])
    kept = np.concatenate((np.zeros_like(out[1]), given), axis=-1)
    return out[0], kept[..., kept.shape[-1] - out[1].shape[-1] :]


@twin("equals_all_tokens_at_once", row=CONVOLUTION)
def older_inputs_dropped(f: Mechanism, p: Problem) -> Any:
    """The state is made of the new inputs alone: a chunk that is shorter than the taps loses the inputs before it."""
    out = p.call(f)
    if not isinstance(out, tuple):
        return out
    missing = max(0, out[1].shape[-1] - p.v.shape[-2])
    return out[0], out[1] * (np.arange(out[1].shape[-1]) >= missing)


@twin("gradients_equal_every_tap", row=CONVOLUTION)
def taps_that_learn_nothing(f: Mechanism, p: Problem) -> Any:
    """The gradient of the taps is not computed."""
    return p.but(weight=stopped(p.options["weight"])).call(f)
