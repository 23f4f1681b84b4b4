"""Attention that scores how tokens relate, pair by pair: in loops over positions, from the formulas alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import repeat_heads, scale_of
from tinyattn.ops.types import Array


def pair_by_pair(q: Array, k: Array, score: Callable[[int, int], Array]) -> Array:
    """Returns score(i, j) of every query i and key j, (..., heads, i, j), where a score has the shape (..., heads)."""
    rows = [np.stack([score(i, j) for j in range(k.shape[-2])], axis=-1) for i in range(q.shape[-2])]
    return np.stack(rows, axis=-2) if rows else np.zeros((*q.shape[:-1], k.shape[-2]), q.dtype)


def read_by(q: Array, k: Array, v: Array, scores: Array, *, softcap: float | None = None, bias: Any = None,
            **options: Any) -> Any:
    """Returns the values weighted by the softmax of these scores, after the cap and the bias."""
    scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
    return definitions.attention(0.0 * q, 0.0 * k, v, bias=scores if bias is None else scores + bias, **options)


def angles(q: Array, k: Array, v: Array, *, log_scale: Array, **options: Any) -> Any:
    """Returns attention to products divided by both lengths, one pair after the other."""
    factor, keys = np.exp(np.where(log_scale < np.log(100.0), log_scale, np.log(100.0))), repeat_heads(q, k)[0]

    def cosine(i: int, j: int) -> Array:
        dots, squares = (np.sum(a * b, axis=-1) for a, b in ((q[..., i, :], keys[..., j, :]), (q[..., i, :], q[..., i, :])))
        others = np.sum(keys[..., j, :] ** 2, axis=-1)
        empty = (squares == 0) | (others == 0)
        lengths = np.sqrt(np.where(empty, 1.0, squares)) * np.sqrt(np.where(empty, 1.0, others))
        return np.where(empty, 0.0, factor * dots / lengths)

    return read_by(q, k, v, pair_by_pair(q, k, cosine).astype(q.dtype), **options)


def normalised_by_rms(q: Array, k: Array, v: Array, *, log_scale: Array, **options: Any) -> Any:
    """Returns QK-norm attention with the scale exp(t) / d, for one t of all heads."""
    return definitions.qk_norm_attention(q, k, v, **{**options, "scale": float(np.exp(log_scale[0])) / q.shape[-1]})


def heads_one_by_one(q: Array, k: Array, v: Array, *, before: Array, after: Array, scale: float | None = None,
                     softcap: float | None = None, **options: Any) -> Array:
    """Returns talking-heads attention as sums over heads: of the scores of pairs, and then of the weights."""
    heads, keys = range(q.shape[-3]), repeat_heads(q, k)[0]
    raw = pair_by_pair(q, k, lambda i, j: scale_of(q, scale) * np.sum(q[..., i, :] * keys[..., j, :], axis=-1))
    capped = raw if softcap is None else softcap * np.tanh(raw / softcap)
    mixed = np.stack([sum([before[g, h] * capped[..., h, :, :] for h in heads]) for g in heads], axis=-3)
    each = np.broadcast_to(np.eye(k.shape[-2], dtype=q.dtype), (*k.shape[:-1], k.shape[-2]))
    weights, values = read_by(q, k, each, mixed, **options), repeat_heads(q, v)[0]
    return np.stack([sum([after[g, h] * weights[..., h, :, :] for h in heads]) @ values[..., g, :, :] for g in heads], axis=-3)


def distances_one_by_one(q: Array, k: Array, v: Array, *, relative: Array, u: Array, w: Array, scale: float | None = None,
                         **options: Any) -> Any:
    """Returns attention whose scores add the product with the row for each pair's distance, one pair after the other."""
    keys, more = repeat_heads(q, k)[0], k.shape[-2] - q.shape[-2]

    def score(i: int, j: int) -> Array:
        row = k.shape[-2] - 1 - (i + more - j)
        of_content = np.sum((q[..., i, :] + u) * keys[..., j, :], axis=-1)
        if row >= relative.shape[-2]:  # a later key, of which a causal table has no row
            return scale_of(q, scale) * of_content
        return scale_of(q, scale) * (of_content + np.sum((q[..., i, :] + w) * relative[:, row], axis=-1))

    return read_by(q, k, v, pair_by_pair(q, k, score), **options)


def tables_pair_by_pair(q: Array, k: Array, v: Array, *, distance: Array, q_relative: Array | None = None,
                        k_relative: Array | None = None, scale: float | None = None, **options: Any) -> Any:
    """Returns attention whose scores add products with the rows of two tables, one pair after the other."""
    keys, terms = repeat_heads(q, k)[0], 1 + (q_relative is not None) + (k_relative is not None)
    factor = 1.0 / np.sqrt(float(terms * q.shape[-1])) if scale is None else scale

    def score(i: int, j: int) -> Array:
        query, key, n = q[..., i, :], keys[..., j, :], int(distance[i, j])
        total = query * key
        total = total if k_relative is None else total + query * k_relative[:, n]
        total = total if q_relative is None else total + key * q_relative[:, n]
        return float(factor) * np.sum(total, axis=-1)

    return read_by(q, k, v, pair_by_pair(q, k, score), **options)


def of_three_terms(q: Array, k: Array, v: Array, *, distance: Array, q_relative: Array, k_relative: Array, **options: Any) -> Any:
    """Returns attention with the scale (3 d)^-1/2."""
    return definitions.attention(q, k, v, scale=(3 * q.shape[-1]) ** -0.5, **options)


def rows_by_distance(q: Array, k: Array, v: Array, *, distance: Array, k_relative: Array, **options: Any) -> Any:
    """Returns relative-position attention, without its vectors, with the table that these pairs read."""
    first, last = distance[-1, :], distance[::-1, -1]  # the last query from the first key on, then the last key for earlier queries
    table = k_relative[:, np.concatenate((first, last[1:]))]
    none = np.zeros((q.shape[-3], q.shape[-1]), q.dtype)
    scale = (2 * q.shape[-1]) ** -0.5
    return definitions.relative_position_attention(q, k, v, relative=table, u=none, w=none, scale=scale, **options)


def cells_one_by_one(q: Array, k: Array, v: Array, *, table_y: Array, table_x: Array, grid: tuple[int, int],
                     scale: float | None = None, **options: Any) -> Any:
    """Returns attention with a bias of two tables, one pair of cells after the other."""
    keys, (rows, columns) = repeat_heads(q, k)[0], grid

    def score(i: int, j: int) -> Array:
        down, along = i // columns - j // columns + rows - 1, i % columns - j % columns + columns - 1
        moved = q[..., i, :] * table_y[down] + q[..., i, :] * table_x[along]
        return scale_of(q, scale) * np.sum(q[..., i, :] * keys[..., j, :], axis=-1) + np.sum(moved, axis=-1)

    return read_by(q, k, v, pair_by_pair(q, k, score), **options)


def rows_of_a_line(q: Array, k: Array, v: Array, *, table_y: Array, table_x: Array, grid: tuple[int, int], scale: float | None = None,
                   **options: Any) -> Any:
    """Returns relative-position attention, without its vectors, whose table is that of the rows divided by the scale."""
    none = np.zeros((q.shape[-3], q.shape[-1]), q.dtype)
    table = np.broadcast_to(table_y[::-1] / scale_of(q, scale), (q.shape[-3], *table_y.shape)).astype(q.dtype)
    return definitions.relative_position_attention(q, k, v, relative=table, u=none, w=none, scale=scale, **options)


def sums_of_gates(q: Array, k: Array, log_forget: Array | None) -> Array:
    """Returns the sum of the log gates after each key up to each query, (..., heads, i, j), or zeros without gates."""
    more, none = k.shape[-2] - q.shape[-2], np.zeros(q.shape[:-2], q.dtype)

    def total(i: int, j: int) -> Array:
        return sum([log_forget[..., later] for later in range(j + 1, i + more + 1)], none) if log_forget is not None else none

    return pair_by_pair(q, k, total)


def reflections_one_by_one(q: Array, k: Array, v: Array, *, w: Array, beta: Array, log_forget: Array | None = None,
                           scale: float | None = None) -> Any:
    """Returns causal attention whose queries are reflected by every token after a key, one pair and one token after the other."""
    keys, directions = repeat_heads(q, k, w)
    strengths, more = repeat_heads(q, beta[..., None])[0], k.shape[-2] - q.shape[-2]

    def score(i: int, j: int) -> Array:
        query = q[..., i, :] * scale_of(q, scale)
        for later in range(i + more, j, -1):
            direction = directions[..., later, :]
            query = query - strengths[..., later, :] * direction * np.sum(direction * query, axis=-1, keepdims=True)
        return np.sum(query * keys[..., j, :], axis=-1)

    return read_by(q, k, v, pair_by_pair(q, k, score), bias=sums_of_gates(q, k, log_forget), causal=True)


def reflections_at_once(q: Array, k: Array, v: Array, *, w: Array, beta: Array, log_forget: Array | None = None,
                        scale: float | None = None) -> Any:
    """Returns the same by one triangular inverse for all tokens (the UT transform of the paper), as kernels make one per chunk.

    With A = (I + D triu(W W^T, 1))^-1 D and C = tril(Q W^T) A^T the products of queries and keys are Q K^T - C tril(W K^T, -1).
    What a query keeps is the difference of what it was and of what all tokens took, however little it is.
    """
    keys, directions, strengths = repeat_heads(q, k, w, beta[..., None])
    more, size, queries = k.shape[-2] - q.shape[-2], k.shape[-2], q * scale_of(q, scale)
    met, lower = np.tril(queries @ directions.mT, more), np.tril(directions @ keys.mT, -1)
    system = np.eye(size, dtype=q.dtype) + strengths * np.triu(directions @ directions.mT, 1)
    taken = met @ (np.linalg.inv(system) * strengths.mT).mT
    return read_by(q, k, v, queries @ keys.mT - taken @ lower, bias=sums_of_gates(q, k, log_forget), causal=True)
