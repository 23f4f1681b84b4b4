"""Attention whose weights are not a plain softmax, written as loops over positions, or by other mechanisms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import constant, own_values, softmax_of
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads, scale_of
from tinyattn.ops.bias import alibi
from tinyattn.ops.masks.batched import documents
from tinyattn.ops.masks.constructors import per_head
from tinyattn.ops.types import Array


def scores(q: Array, k: Array, factor: Any, softcap: float | None, bias: Array | None) -> Array:
    """Returns the scores of all pairs, multiplied by a factor, capped, and with the bias."""
    out: Array = np.einsum("...id,...jd->...ij", q, repeat_heads(q, k)[0]) * factor
    out = out if softcap is None else np.tanh(out / softcap) * softcap
    return out if bias is None else out + bias


def seen_in(q: Array, k: Array, options: dict[str, Any]) -> Array:
    """Returns which query sees which key, (..., heads, i, j), by the options of attention."""
    return Problem(q, k, k, options).visible()


def share(x: Array) -> Array:
    """Returns 1 / (1 + exp(-x)), without an overflow."""
    shares: Array = np.exp(np.minimum(x, 0.0)) / (1.0 + np.exp(-np.abs(x)))
    return shares


def forgotten(q: Array, k: Array, v: Array, *, log_forget: Array, window: Any = None, scale: float | None = None) -> Array:
    """Returns forgetting attention query by query: going back from it, each key's own gate lowers all keys before."""
    products, values = scores(q, k, scale_of(q, scale), None, None), repeat_heads(q, v)[0]
    left, first, rows = (window or (None, None))[0], k.shape[-2] - q.shape[-2], []
    for i in range(q.shape[-2]):
        at, lowered, logs = first + i, 0.0 * products[..., i, 0], []
        for j in range(at, -1 if left is None else max(-1, at - left - 1), -1):
            logs.append(products[..., i, j] + lowered)
            lowered = lowered + log_forget[..., j]
        weights = softmax_of(np.stack(logs[::-1], axis=-1))
        rows.append(np.einsum("...j,...je->...e", weights, values[..., at + 1 - len(logs) : at + 1, :]))
    return np.stack(rows, axis=-2) if rows else 0.0 * q[..., :0, :1] * values[..., :0, :]


def with_slopes(q: Array, k: Array, v: Array, *, log_forget: Array, **options: Any) -> Any:
    """Returns causal attention with ALiBi, whose slopes are the negative log gates of the first token."""
    slopes = -log_forget[(0,) * (log_forget.ndim - 2)][:, 0]
    return definitions.attention(q, k, v, bias=alibi(slopes), causal=True, **options)


def in_documents(q: Array, k: Array, v: Array, *, log_forget: Array, **options: Any) -> Any:
    """Returns causal attention to packed documents, one of which begins at every closed gate."""
    ids = np.cumsum(np.isneginf(log_forget), axis=-1)
    mask = per_head([documents(ids[..., h, :]) for h in range(ids.shape[-2])])
    return definitions.attention(q, k, v, mask=mask, causal=True, **options)


def broken_sticks(q: Array, k: Array, v: Array, *, current: bool = False, scale: float | None = None) -> Array:
    """Returns stick-breaking attention pair by pair: going back from a query, each key takes its share of what is left."""
    shares, values = share(scores(q, k, scale_of(q, scale), None, None)), repeat_heads(q, v)[0]
    rows = []
    for i in range(q.shape[-2]):
        out = 0.0 * q[..., i, :1] * values[..., 0, :]
        left = 0.0 * q[..., i, 0] + 1.0
        for j in range(k.shape[-2] - q.shape[-2] + i - (not current), -1, -1):
            out = out + (left * shares[..., i, j])[..., None] * values[..., j, :]
            left = left * (1.0 - shares[..., i, j])
        rows.append(out)
    return np.stack(rows, axis=-2) if rows else 0.0 * q[..., :0, :1] * values[..., :0, :]


def halves(q: Array, k: Array, v: Array, *, current: bool = False, scale: float | None = None) -> Any:
    """Returns retention with a decay of one half and keys of 1, of which half is taken with `current`, else the own value."""
    ones, decay = [np.ones((*x.shape[:-1], 1), x.dtype) for x in (q, k)], np.full(k.shape[-3], np.log(0.5), k.dtype)
    summed = definitions.retention(ones[0], ones[1], v, log_decay=decay)
    return 0.5 * summed if current else summed - own_values(q, k, v)


def weights_and_rest(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the sum of the weights of each query, which values of 1 give, plus what they leave."""
    rest = p.call(definitions.stick_breaking_attention_with_rest)[1]
    return (p.but(v=np.ones_like(p.v)).call(f) + rest[..., None],)


def one_share(q: Array, k: Array, v: Array, *, current: bool = False, **options: Any) -> Any:
    """Returns sigmoid attention without an offset to the keys before each query."""
    earlier = np.arange(k.shape[-2]) < np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None]
    return definitions.sigmoid_attention(q, k, v, offset=0.0, mask=earlier, **options)


def sigmoids(q: Array, k: Array, v: Array, *, offset: Any = None, scale: float | None = None, softcap: float | None = None,
             bias: Array | None = None, **options: Any) -> Array:
    """Returns the sum over the keys, one by one, of their values times a sigmoid."""
    seen, values = seen_in(q, k, options), repeat_heads(q, v)[0]
    products, out = scores(q, k, scale_of(q, scale), softcap, bias), 0.0 * q[..., :1] * np.sum(values, axis=-2, keepdims=True)
    if offset is None:
        offset = -np.log(np.maximum(np.count_nonzero(seen, axis=-1), 1)).astype(q.dtype)
    elif not isinstance(offset, float):
        offset = offset[:, None]
    for j in range(k.shape[-2]):
        weight = np.where(seen[..., j], share(products[..., j] + offset), 0.0)
        out = out + weight[..., None] * values[..., j : j + 1, :]
    return out


def exponentials(q: Array, k: Array, v: Array, *, offset: float, **options: Any) -> Array:
    """Returns the sum of the values times exp(score + offset), from attention and its log-sum-exp."""
    out, lse = definitions.attention_with_lse(q, k, v, **options)
    return out * np.exp(lse + offset)[..., None]


def exponents(f: Mechanism, p: Problem, _found: Any) -> tuple[Array, ...]:
    """Returns the sum of the absolute terms of the output, times the offset.

    A score plus the offset is rounded to the digits of the offset, and so is the logarithm of each term, whatever the score.
    """
    return (abs(p.options["offset"]) * p.but(v=np.abs(p.v)).call(f),)


def halved(alpha: float | None = None) -> Mechanism:
    """Returns entmax attention whose thresholds are found by halving an interval, and whose gradient is the formula of the paper.

    Each weight is a constant plus r (s - mean of s), both 0 where s is taken for a constant: its gradient is that formula.
    """
    def mechanism(q: Array, k: Array, v: Array, *, scale: float | None = None, softcap: float | None = None,
                  bias: Array | None = None, alpha: float | None = alpha, **options: Any) -> Array:
        seen, a = seen_in(q, k, options), 1.5 if alpha is None else alpha
        products = scores(q, k, scale_of(q, scale), softcap, bias)
        held = np.where(seen, constant(products), -np.inf).astype(np.float64)
        weights = softmax_weights(held) if a == 1.0 else threshold_weights(held, a)
        r = np.where(weights > 0, np.where(weights > 0, weights, 1.0) ** (2.0 - a), 0.0).astype(q.dtype)
        moved = np.where(r > 0, products - constant(products), 0.0)
        total = np.sum(r, axis=-1, keepdims=True)
        moved = r * (moved - np.sum(r * moved, axis=-1, keepdims=True) / np.where(total == 0, 1.0, total))
        return (weights.astype(q.dtype) + moved) @ repeat_heads(q, v)[0]

    return mechanism


def softmax_weights(held: Array) -> Array:
    """Returns the softmax of each row, 0 in one that is -inf throughout."""
    some = np.max(held, axis=-1, keepdims=True, initial=-np.inf) > -np.inf
    return np.where(some, softmax_of(np.where(some, held, 0.0)), 0.0) if held.size else held


def threshold_weights(held: Array, alpha: float) -> Array:
    """Returns ((alpha - 1) s - t)_+^(1 / (alpha - 1)) of each row, with t between the largest score and 1 below it."""
    top = np.max(held, axis=-1, keepdims=True, initial=-np.inf)
    scaled = (alpha - 1.0) * (held - np.where(np.isneginf(top), 0.0, top))
    low, high = np.full(top.shape, -1.0), np.zeros(top.shape)
    for _ in range(200):
        middle = (low + high) / 2
        more = np.sum(np.maximum(scaled - middle, 0.0) ** (1.0 / (alpha - 1.0)), axis=-1, keepdims=True) > 1.0
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    weights: Array = np.maximum(scaled - low, 0.0) ** (1.0 / (alpha - 1.0))
    return weights


def best_key(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns top-k attention to one key."""
    return definitions.top_k_attention(q, k, v, keep=1, **options)


def less_their_mean(q: Array, k: Array, v: Array, *, scale: float, **options: Any) -> Array:
    """Returns the values weighted by 1 / n + score - mean score over the n visible keys."""
    seen = seen_in(q, k, options)
    products, count = np.where(seen, scores(q, k, scale, None, None), 0.0), np.maximum(np.sum(seen, axis=-1, keepdims=True), 1)
    centred = products - np.sum(products, axis=-1, keepdims=True) / count.astype(q.dtype) + (1.0 / count).astype(q.dtype)
    out: Array = np.where(seen, centred, 0.0) @ repeat_heads(q, v)[0]
    return out


def with_alpha(alpha: float) -> Callable[..., Any]:
    """Returns entmax attention with an alpha."""
    return lambda q, k, v, **options: definitions.entmax_attention(q, k, v, **{**options, "alpha": alpha})


def without(mechanism: Mechanism, name: str) -> Mechanism:
    """Returns a mechanism that is called without one option of the problem."""
    return lambda q, k, v, **options: mechanism(q, k, v, **{n: x for n, x in options.items() if n != name})


def powers_of_counts(q: Array, k: Array, v: Array, *, factor: Any, scale: float | None = None, softcap: float | None = None,
                     bias: Array | None = None, sinks: Array | None = None, **options: Any) -> Array:
    """Returns scalable softmax with n^(factor s) written out as exp of a sum over the keys that each query sees."""
    seen = seen_in(q, k, options)
    logs = np.log(np.maximum(np.count_nonzero(seen, axis=-1), 1)).astype(q.dtype)[..., None]
    factor = factor if isinstance(factor, float) else factor[:, None, None]
    masked = np.where(seen, scores(q, k, scale_of(q, scale) * logs * factor, softcap, bias), -np.inf)
    top = np.max(constant(masked), axis=-1, keepdims=True, initial=-np.inf)
    if sinks is not None:
        top = np.maximum(top, constant(sinks)[:, None, None])
    top = np.where(np.isneginf(top), 0.0, top).astype(q.dtype)
    mass = np.exp(masked - top)
    total = np.sum(mass, axis=-1, keepdims=True)
    total = total if sinks is None else total + np.exp(sinks[:, None, None] - top)
    return (mass / np.where(total == 0, 1.0, total)) @ repeat_heads(q, v)[0]
