"""Sparse attention row by row: the keys that a query sees are listed and gathered, and no other pair is touched.

These are the second forms of mechanisms whose definition is a mask over attention. They share no piece with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinyattn.laws.oracles.calls import constant, pairs, softmax_of
from tinyattn.laws.problem import repeat_heads, scale_of
from tinyattn.ops.types import Array


def listed(shape: tuple[int, ...], keys: Callable[..., Iterable[int]]) -> Array:
    """Returns (*shape, most) with the positions keys(*index) of each index, filled up with -1 where a row has fewer.

    >>> listed((2,), lambda i: range(i + 1))
    array([[ 0, -1],
           [ 0,  1]])
    """
    rows = {index: [*keys(*index)] for index in np.ndindex(shape)}
    table = np.full((*shape, max(map(len, rows.values()), default=0)), -1)
    for index, row in rows.items():
        table[(*index, slice(len(row)))] = row
    return table


def part(q: Array, k: Array, v: Array, keys: Array, scale: float | None) -> tuple[Array, Array]:
    """Returns (out, lse) over the keys (..., heads, i, m) that are listed for each query."""
    groups, at = q.shape[-3] // max(k.shape[-3], 1), np.broadcast_to(keys, (*q.shape[:-1], keys.shape[-1]))

    def picked(x: Array) -> Array:
        # -1 is a row of zeros behind the others.
        x = np.repeat(np.concatenate((x, np.zeros((*x.shape[:-2], 1, x.shape[-1]), x.dtype)), axis=-2), groups, axis=-3)
        flat = np.broadcast_to(at.reshape(*at.shape[:-2], -1, 1), (*at.shape[:-2], at.shape[-2] * at.shape[-1], x.shape[-1]))
        return np.take_along_axis(x, flat, axis=-2).reshape(*at.shape, x.shape[-1])

    products = np.sum(np.expand_dims(q, -2) * picked(k), axis=-1) * scale_of(q, scale)
    scores = np.where(at >= 0, products, -np.inf)
    top = np.max(constant(scores), axis=-1, initial=-np.inf)[..., None]
    exps = np.exp(scores - np.where(top == -np.inf, 0.0, top).astype(q.dtype))
    total = np.sum(exps, axis=-1)
    seen = total > 0
    out = np.sum(exps[..., None] * picked(v), axis=-2) / np.where(seen, total, 1.0)[..., None]
    return out, np.where(seen, np.log(np.where(seen, total, 1.0)) + np.where(seen, top[..., 0], 0.0), -np.inf)


def over(q: Array, k: Array, v: Array, keys: Array, scale: float | None) -> Array:
    """Returns attention over the keys that are listed for each query."""
    return part(q, k, v, keys, scale)[0]


def first_at(q: Array, k: Array) -> int:
    """Returns the position of the first query."""
    position: int = k.shape[-2] - q.shape[-2]
    return position


def tokens_of(blocks: Iterable[int], size: int, end: int) -> list[int]:
    """Returns the tokens of these blocks that stand before `end`."""
    return [j for block in sorted(set(blocks)) for j in range(block * size, min((block + 1) * size, end))]


def block_sparse(q: Array, k: Array, v: Array, *, blocks: Array, q_block: int, kv_block: int, causal: bool = False,
                 scale: float | None = None) -> Array:
    """Returns attention in which each query reads the tokens of its row of blocks."""
    start, table = first_at(q, k), np.broadcast_to(blocks, (q.shape[-3], *blocks.shape[-2:]))

    def keys(h: int, i: int) -> list[int]:
        end = start + i + 1 if causal else k.shape[-2]
        return tokens_of(np.flatnonzero(table[h, i // q_block]).tolist(), kv_block, end)

    return over(q, k, v, listed(q.shape[-3:-1], keys), scale)


def longformer(q: Array, k: Array, v: Array, *, q_global: Array, k_global: Array, v_global: Array,
               global_tokens: Sequence[int], window: int, scale: float | None = None) -> Array:
    """Returns attention in which each query reads its window and the global tokens, and each global query reads all keys."""
    start, length = first_at(q, k), k.shape[-2]

    def keys(i: int) -> set[int]:
        near = range(max(0, start + i - window), min(length, start + i + window + 1))
        return {*near, *(g for g in global_tokens if g < length)}

    local = over(q, k, v, listed((q.shape[-2],), keys), scale)
    rows = [over(q_global[..., i : i + 1, :], k_global, v_global, np.arange(length)[None], scale)
            if start + i in global_tokens else local[..., i : i + 1, :] for i in range(q.shape[-2])]
    return np.concatenate(rows, axis=-2) if rows else local


def bigbird(q: Array, k: Array, v: Array, *, block: int, random: int, seed: int, causal: bool = False,
            scale: float | None = None) -> Array:
    """Returns attention in which each query reads a set of blocks."""
    start, length = first_at(q, k), k.shape[-2]
    last = (length - 1) // block

    def keys(i: int) -> list[int]:
        own = (start + i) // block
        near = {0, max(own - 1, 0), own, *np.random.default_rng([seed, own]).permutation(own + 1)[:random].tolist()}
        if causal:
            return tokens_of(near, block, start + i + 1)
        return tokens_of(range(last + 1) if own in (0, last) else {*near, own + 1, last}, block, length)

    return over(q, k, v, listed((q.shape[-2],), keys), scale)


def shifted_sparse(q: Array, k: Array, v: Array, *, group: int, causal: bool = True, scale: float | None = None) -> Array:
    """Returns attention in which each query reads its group, whose borders are listed explicitly."""
    start, length, heads = first_at(q, k), k.shape[-2], q.shape[-3]

    def keys(h: int, i: int) -> range:
        borders = [0, *range(group if h < heads // 2 else group // 2, length, group), length]
        low = max(b for b in borders if b <= start + i)
        return range(low, start + i + 1 if causal else min(b for b in borders if b > start + i))

    return over(q, k, v, listed((heads, q.shape[-2]), keys), scale)


def streaming_llm(q: Array, k: Array, v: Array, *, first: int, window: int, base: float = 10000.0,
                  scale: float | None = None) -> Array:
    """Returns what a cache gives that takes one token at a time, evicts old ones, and counts distances within itself."""
    start, half = first_at(q, k), q.shape[-1] // 2
    rates = base ** (-np.arange(half) / half)
    k, v = repeat_heads(q, k, v)
    outs = [q[..., :0, :1] * v[..., :0, :]]
    held: list[int] = []
    for t in range(k.shape[-2]):
        held = [*held, t]
        if len(held) > first + window:
            held = held[:first] + held[first + 1 :]
        if t < start:
            continue
        a, b = q[..., t - start : t - start + 1, :half], q[..., t - start : t - start + 1, half:]
        c, d = k[..., held, :half], k[..., held, half:]
        angle = (len(held) - 1 - np.arange(len(held)))[:, None] * rates
        products = (a * c + b * d) * np.cos(angle).astype(q.dtype) - (b * c - a * d) * np.sin(angle).astype(q.dtype)
        scores = np.sum(products, axis=-1) * scale_of(q, scale)
        outs.append(np.sum(softmax_of(scores)[..., None] * v[..., held, :], axis=-2, keepdims=True))
    return np.concatenate(outs, axis=-2)


def top_k(q: Array, k: Array, v: Array, *, keep: int, causal: bool = False, scale: float | None = None) -> Array:
    """Returns attention in which each query reads the first keys once all that it may see are sorted by score."""
    start = first_at(q, k)
    scores = pairs(q, k) * scale_of(q, scale)

    def keys(*index: int) -> list[int]:
        row = scores[index]
        return sorted(range(start + index[-1] + 1 if causal else k.shape[-2]), key=lambda j: (-row[j], j))[:keep]

    return over(q, k, v, listed(q.shape[:-1], keys), scale)


def block_means(x: Array, size: int) -> Array:
    """Returns the mean of every complete block of tokens."""
    means = [np.sum(x[..., b * size : (b + 1) * size, :], axis=-2, keepdims=True) / size for b in range(x.shape[-2] // size)]
    return np.concatenate(means, axis=-2) if means else x[..., :0, :]


def block_mixture(q: Array, k: Array, v: Array, *, block: int, keep: int, scale: float | None = None) -> Array:
    """Returns attention to a query's own block merged, by their lse, with attention to the past blocks that it chooses."""
    start, gate = first_at(q, k), pairs(q, block_means(k, block))

    def past(*index: int) -> list[int]:
        row, own = gate[index], (start + index[-1]) // block
        return tokens_of(sorted(range(own), key=lambda b: (-row[b], b))[: keep - 1], block, own * block)

    def own(i: int) -> range:
        return range((start + i) // block * block, start + i + 1)

    near, near_lse = part(q, k, v, listed((q.shape[-2],), own), scale)
    far, far_lse = part(q, k, v, listed(q.shape[:-1], past), scale)
    top = np.maximum(constant(near_lse), constant(far_lse))
    mass, more = np.exp(near_lse - top)[..., None], np.exp(far_lse - top)[..., None]
    return (mass * near + more * far) / (mass + more)


def native_sparse(q: Array, k: Array, v: Array, *, gates: Array, block: int, selected: int, window: int,
                  scale: float | None = None) -> Array:
    """Returns the gated sum of means, selected blocks and window, gathered one query at a time."""
    start, groups = first_at(q, k), q.shape[-3] // max(k.shape[-3], 1)
    mean_k, mean_v = block_means(k, block), block_means(v, block)
    products = pairs(q, mean_k) * scale_of(q, scale)

    def importance(lead: tuple[int, ...], head: int, i: int) -> Any:
        rows = products[lead][head // groups * groups : (head // groups + 1) * groups, i, : (start + i + 1) // block]
        return softmax_of(rows).sum(axis=0) if rows.size else rows

    def chosen(*index: int) -> list[int]:
        *lead, head, i = index
        own, worth = (start + i) // block, importance(tuple(lead), head, i)
        forced = [b for b in dict.fromkeys((own, 0, own - 1)) if b >= 0]
        rest = sorted((b for b in range(own) if b not in forced), key=lambda b: (-worth[b], b))
        return tokens_of([*forced, *rest][:selected], block, start + i + 1)

    compressed = over(q, mean_k, mean_v, listed((q.shape[-2],), lambda i: range((start + i + 1) // block)), scale)
    fine = over(q, k, v, listed(q.shape[:-1], chosen), scale)
    near = over(q, k, v, listed((q.shape[-2],), lambda i: range(max(0, start + i + 1 - window), start + i + 1)), scale)
    return np.sum(np.stack((compressed, fine, near), axis=-1) * np.expand_dims(gates, -2), axis=-1)


def lsh(qk: Array, v: Array, *, rotations: Array, chunk: int, causal: bool = False, scale: float | None = None) -> Array:
    """Returns LSH attention by a dense mask per hash, whose buckets are ranked by how many tokens sort before each."""
    length = qk.shape[-2]
    square = np.sum(qk * qk, axis=-1, keepdims=True)
    keys = qk * np.where(square == 0, 1.0, square) ** -0.5
    place = np.arange(length)
    itself = np.where(place[:, None] == place, 1e5, 0.0).astype(qk.dtype)
    scores = np.einsum("...id,...jd->...ij", qk, keys) * scale_of(qk, scale) - itself
    masks = []
    for turned in constant(rotations):
        side = constant(qk) @ turned
        bucket = np.argmax(np.concatenate((side, -side), axis=-1), axis=-1)
        mine, theirs = bucket[..., :, None], bucket[..., None, :]
        rank = np.sum((theirs < mine) | ((theirs == mine) & (place < place[:, None])), axis=-1) // chunk
        apart = rank[..., :, None] - rank[..., None, :]
        masks.append((mine == theirs) & (apart >= 0) & (apart <= 1) & ((place <= place[:, None]) | (not causal)))
    seen = np.stack([np.broadcast_to(mask, (*qk.shape[:-1], length)) for mask in masks])
    shown = np.where(seen.any(axis=0), scores, -np.inf)
    mass = np.exp(shown - constant(shown).max(axis=-1, keepdims=True, initial=-np.inf)) * seen.sum(axis=0).astype(qk.dtype)
    return np.einsum("...ij,...je->...ie", mass, v) / np.sum(mass, axis=-1, keepdims=True)
