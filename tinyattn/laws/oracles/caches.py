"""What a cache that forgets tokens or rounds numbers must give, computed over all tokens, query by query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import Mechanism, Problem, scale_of
from tinyattn.ops.types import Array


def seeing(q: Array, k: Array, v: Array, seen: Array, *, causal: bool = True, mask: Array | None = None, window: None = None,
           **options: Any) -> Any:
    """Returns attention in which each query sees only certain keys; `seen` broadcasts to (..., heads, i, j)."""
    return definitions.attention(q, k, v, mask=seen if mask is None else seen & mask, **options)


def last_and_first(window: int, first: int = 0) -> Mechanism:
    """Returns attention to the newest `window` tokens, with the query's own among them, and to the `first` ones."""
    def f(q: Array, k: Array, v: Array, **options: Any) -> Any:
        i, j = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])
        return seeing(q, k, v, (j <= i) & ((i - j < window) | (j < first)), **options)

    return f


def rounded(x: Array, bits: int, group: int, axis: int) -> Array:
    """Returns x quantised and back, group by group along an axis; an incomplete group of tokens stays as it is."""
    rows = np.moveaxis(x.astype(np.promote_types(x.dtype, np.float32)), axis, 0)
    out = rows.copy()
    for start in range(0, len(rows), group):
        some = rows[start : start + group]
        if axis == -1 or len(some) == group:
            low, high = some.min(axis=0), some.max(axis=0)
            step = np.where(high > low, (high - low) / rows.dtype.type(2 ** bits - 1), 1)
            out[start : start + group] = low + step * np.round((some - low) / step)
    return np.moveaxis(out, 0, axis).astype(x.dtype)


def in_codes(bits: int, group: int, residual: int, coded: int = 0) -> Mechanism:
    """Returns attention in which each query sees old tokens quantised, in whole groups, and at least `residual` unchanged.

    The first `coded` tokens are rounded in any case: they were old in a longer text, which was then truncated.
    """
    def f(q: Array, k: Array, v: Array, *, causal: bool = True, mask: Array | None = None, window: None = None, **options: Any) -> Any:
        coarse_k, coarse_v = rounded(k, bits, group, -2), rounded(v, bits, group, -1)
        outs = []
        for t in range(q.shape[-2]):
            old = max(coded, max(0, t + 1 - residual) // group * group)
            keys, values = (np.concatenate((coarse[..., :old, :], fine[..., old : t + 1, :]), axis=-2)
                            for coarse, fine in ((coarse_k, k), (coarse_v, v)))
            row = None if mask is None else np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2]))[..., t : t + 1, : t + 1]
            outs.append(definitions.attention(q[..., t : t + 1, :], keys, values, mask=row, **options))
        return np.concatenate(outs, axis=-2)

    return f


def rounding_bound(p: Problem, bits: int, group: int) -> Array:
    """Returns how far an output may be off when keys and values are rounded, (..., heads, i, 1).

    Scores are off by at most e = scale |q|_1 max(key scales) / 2, weights by a factor of at most exp(2 e), so that an output
    is off by (exp(2 e) - 1) max |v| + max(value scales) / 2.
    """
    def widest(x: Array, axis: int) -> float:
        parts = np.array_split(x, range(group, x.shape[axis], group), axis=axis)
        return max(float((part.max(axis=axis) - part.min(axis=axis)).max(initial=0.0)) for part in parts) / (2 ** bits - 1)

    e = abs(p.scale) * np.abs(p.q).sum(axis=-1, keepdims=True) * widest(p.k, -2) / 2
    return (np.exp(2 * e) - 1) * np.abs(p.v).max(initial=0.0) + widest(p.v, -1) / 2


Choose = Callable[[Array, list[int]], list[int]]


def keeping(choose: Callable[[], Choose]) -> Mechanism:
    """Returns attention in which, after every query, a rule decides which tokens of a kv head stay.

    `choose()` gives a rule for one head: from the weights that the heads which share it gave to the tokens held, in order,
    and their positions, the positions that stay.
    """
    def f(q: Array, k: Array, v: Array, *, causal: bool = True, mask: Array | None = None, window: None = None, **options: Any) -> Any:
        groups, n = q.shape[-3] // k.shape[-3], k.shape[-2]
        seen = np.zeros((*q.shape[:-1], n), bool)
        for place in np.ndindex(*k.shape[:-2]):
            heads = slice(place[-1] * groups, (place[-1] + 1) * groups)
            rule, held = choose(), list[int]()
            for t in range(n):
                held.append(t)
                seen[(*place[:-1], heads, t, held)] = True
                given = {name: x[heads] if name == "sinks" else x for name, x in options.items()}
                held = rule(weights(q[(*place[:-1], heads)][:, t], k[(*place, held)], **given).sum(axis=0), held)
        return seeing(q, k, v, seen, mask=mask, **options)

    return f


def weights(q: Array, k: Array, *, scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
            bias: None = None) -> Array:
    """Returns the softmax of one query per head, (heads, d), over keys (j, d) that all of them see."""
    scores = q @ k.T * q.dtype.type(scale_of(q, scale))
    if softcap is not None:
        scores = softcap * np.tanh(scores / softcap)
    mass = np.exp(scores)
    return mass / (mass.sum(axis=-1, keepdims=True) + (0.0 if sinks is None else np.exp(sinks)[:, None]))


def heaviest(heavy: int, recent: int) -> Callable[[], Choose]:
    """Returns the rule of heavy hitters: the token with the least total weight is dropped, unless it is among the newest."""
    def choose() -> Choose:
        mass: dict[int, float] = {}

        def rule(weights: Array, held: list[int]) -> list[int]:
            for j, weight in zip(held, weights, strict=True):
                mass[j] = mass.get(j, 0.0) + float(weight)
            if len(held) <= heavy + recent:
                return held
            least = min(held[: len(held) - recent], key=lambda j: mass[j])
            return [j for j in held if j != least]

        return rule

    return choose


def voted(prompt: int, budget: int, window: int, kernel: int) -> Callable[[], Choose]:
    """Returns SnapKV's rule: after the prompt, its last tokens stay and those to which its last queries attend most."""
    def choose() -> Choose:
        votes = [0.0] * (prompt - window)

        def rule(weights: Array, held: list[int]) -> list[int]:
            t = held[-1]
            if prompt <= budget or t >= prompt:
                return held
            if t >= prompt - window:
                for j in range(prompt - window):
                    votes[j] += float(weights[j])
            if t < prompt - 1:
                return held
            reach = kernel // 2
            smooth = [sum(votes[max(0, j - reach) : j + reach + 1]) / kernel for j in range(len(votes))]
            best = sorted(range(len(votes)), key=lambda j: -smooth[j])[: budget - window]
            return sorted(best) + list(range(prompt - window, prompt))

        return rule

    return choose
