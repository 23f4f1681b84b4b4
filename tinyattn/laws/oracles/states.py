"""Further states written another way: as loops over pairs of tokens, or by other mechanisms."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.linear import UNNORMALISED
from tinyattn.laws.problem import repeat_heads
from tinyattn.ops.types import Array


def rows_of(q: Array, v: Array, rows: list[Array]) -> Array:
    """Returns the rows as one array, of length 0 where there are none."""
    return np.stack(rows, axis=-2) if rows else np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)


def fading_by_distance(q: Array, k: Array, v: Array, *, slopes: Array) -> Array:
    """Returns lightning attention as a sum over pairs: each product of query and key fades with the distance."""
    keys, values = repeat_heads(q, k, v)
    rate, first, rows = np.repeat(slopes, q.shape[-3] // max(k.shape[-3], 1))[:, None], k.shape[-2] - q.shape[-2], []
    for i in range(q.shape[-2]):
        read = np.zeros_like(values[..., 0, :])
        for j in range(first + i + 1):
            product = np.sum(q[..., i, :] * keys[..., j, :], axis=-1, keepdims=True)
            read = read + np.exp(-rate * (first + i - j)) * product * values[..., j, :]
        rows.append(read)
    return rows_of(q, v, rows)


def decays_strictly_between(q: Array, k: Array, v: Array, *, log_decay: Array, bonus: Array) -> Array:
    """Returns RWKV-6 as a sum over pairs: a key fades by the decays of the tokens that stand between it and the query."""
    keys, values, decay, own = repeat_heads(q, k, v, np.exp(log_decay), bonus[:, None, :])
    first, rows = k.shape[-2] - q.shape[-2], []
    for i in range(q.shape[-2]):
        at, reach = first + i, q[..., i, :]
        read = np.sum(reach * own[:, 0, :] * keys[..., at, :], axis=-1, keepdims=True) * values[..., at, :]
        for j in range(at - 1, -1, -1):
            read = read + np.sum(reach * keys[..., j, :], axis=-1, keepdims=True) * values[..., j, :]
            reach = reach * decay[..., j, :]
        rows.append(read)
    return rows_of(q, v, rows)


def exponential_weights(q: Array, k: Array, v: Array, *, input_gate: Array, forget_gate: Array) -> Array:
    """Returns mLSTM as a sum over pairs, with the exponentials taken as they stand."""
    keys, values, wrote, kept = repeat_heads(q, k, v, input_gate[..., None], -np.logaddexp(0, -forget_gate)[..., None])
    first, rows = k.shape[-2] - q.shape[-2], []
    for i in range(q.shape[-2]):
        read, total, reach = (np.zeros_like(x[..., 0, :]) for x in (values, wrote, kept))
        for j in range(first + i, -1, -1):
            product = np.sum(q[..., i, :] * keys[..., j, :], axis=-1, keepdims=True) * np.exp(reach + wrote[..., j, :])
            read, total, reach = read + product * values[..., j, :], total + product, reach + kept[..., j, :]
        rows.append(read / np.maximum(np.abs(total), 1))
    return rows_of(q, v, rows)


def retention_by_slopes(q: Array, k: Array, v: Array, *, slopes: Array) -> Any:
    """Returns retention whose log decays are the negative slopes."""
    return definitions.retention(q, k, v, log_decay=-slopes)


def sums_of_all(q: Array, k: Array, v: Array, **_: Any) -> Any:
    """Returns linear attention without features and normaliser, whatever the gates are."""
    return UNNORMALISED(q, k, v)


def read_a_token_later(q: Array, k: Array, v: Array, *, log_decay: Array, bonus: Array) -> Array:
    """Returns what the next token's query would read by gated linear attention, and the token's own value by the bonus.

    A token of zeros before all others lets the first query read too.
    """
    pad = [(0, 0)] * (k.ndim - 2)
    later, (keys, values) = np.pad(q, [*pad, (0, 1), (0, 0)]), (np.pad(x, [*pad, (1, 0), (0, 0)]) for x in (k, v))
    read = definitions.gated_linear_attention(later, keys, values, log_decay=np.pad(log_decay, [*pad, (1, 0), (0, 0)]))
    mine, value = (x[..., k.shape[-2] - q.shape[-2] :, :] for x in repeat_heads(q, k * bonus[:, None, :], v))
    return read[..., :-1, :] + np.sum(q * mine, axis=-1, keepdims=True) * value


def strengths_in_the_keys(q: Array, k: Array, v: Array, *, input_gate: Array, forget_gate: Array) -> Array:
    """Returns simple gated linear attention with keys exp(i) k, over the same with values of 1 where that is above 1."""
    decay, keys = -np.logaddexp(0, -forget_gate), k * np.exp(input_gate)[..., None]
    sums, total = (definitions.simple_gated_linear_attention(q, keys, x, log_decay=decay) for x in (v, np.ones_like(v[..., :1])))
    weighted: Array = sums / np.maximum(np.abs(total), 1)
    return weighted


def means_of_all(q: Array, k: Array, v: Array, **_: Any) -> Any:
    """Returns normalised linear attention without features, whatever the gates are."""
    return definitions.linear_attention(q, k, v, feature_map=None, causal=True)


def forget_gates(q: Array, k: Array, v: Array, *, log_decay: Array) -> Array:
    """Returns HGRN2: with forget gates f, each state is f times the last one and 1 - f times what its token writes."""
    forget, first, state, rows = np.exp(log_decay), k.shape[-2] - q.shape[-2], 0.0, []
    for t in range(k.shape[-2]):
        gate = forget[..., t, :, None]
        state = gate * state + (1 - gate) * v[..., t, None, :]
        if t >= first:
            rows.append(np.sum(q[..., t - first, :, None] * repeat_heads(q, state)[0], axis=-2))
    return rows_of(q, v, rows)


def squares(x: Array) -> Array:
    """Returns the features x (x) x, all products of two channels."""
    return (x[..., :, None] * x[..., None, :]).reshape(*x.shape[:-1], x.shape[-1] ** 2)


def squared_scores(q: Array, k: Array, **_: Any) -> Array:
    """Returns the squares of q . k."""
    return np.square(q @ np.swapaxes(k, -1, -2))


def tap_by_tap(q: Array, k: Array, v: Array, *, weight: Array, bias: Array | None) -> Array:
    """Returns the causal convolution of the values as a loop over tokens and taps."""
    first, width, rows = k.shape[-2] - q.shape[-2], weight.shape[-1], []
    for i in range(first, k.shape[-2]):
        total = np.zeros_like(v[..., 0, :]) if bias is None else np.zeros_like(v[..., 0, :]) + bias
        for tap in range(max(0, width - 1 - i), width):
            total = total + weight[..., tap] * v[..., i - width + 1 + tap, :]
        rows.append(repeat_heads(q, total[..., None, :])[0][..., 0, :])
    return rows_of(q, v, rows)


def running_sums(q: Array, k: Array, v: Array, **_: Any) -> Any:
    """Returns linear attention whose features are all 1, without normaliser."""
    return UNNORMALISED(np.ones_like(q[..., :1]), np.ones_like(k[..., :1]), v)
