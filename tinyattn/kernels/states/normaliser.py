"""The normaliser: a running sum of keys, whose product with a query is the total weight of what the query reads."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.rows import add_all, add_scaled, dot
from tinyattn.kernels.tiles.jit import inlined, reassociated


@reassociated
def sum_rows(total, x, rows, width):
    """Fills total with the sum of the rows of x [..][width]."""
    for c in range(width):
        total[c] = 0
    for r in range(rows):
        row = x[r * width : (r + 1) * width]
        for c in range(width):
            total[c] += row[c]


@inlined
def add_keys(total, chunk_total, keys, rows, width):
    """Adds the keys of a chunk to the running sum: first to each other, as in a long sum a single key is rounded away."""
    sum_rows(chunk_total, keys, rows, width)
    add_all(total, chunk_total, width)


@reassociated
def sum_scores(scores, start, count):
    """Returns the sum of a row of scores up to the diagonal."""
    total, row = scores.dtype.type(0), scores[start : start + count]
    for j in range(count):
        total += row[j]
    return total


@inlined
def total_weights(weights, scores, queries, total, since, rows, chunk, width):
    """Fills weights with the total weight of each query: its scores in the chunk and its product with the faded keys before it."""
    for i in range(rows):
        weights[i] = sum_scores(scores, i * chunk, i + 1) + since[i] * dot(queries, i * width, total, 0, width)


@inlined
def reciprocals(factors, weights, weights_at, scale, rows):
    """Fills factors with what turns sums into means, scale / (scale times the total weight); a total of 0 counts as 1.

    `weights` holds scale times the total weights.
    """
    for i in range(rows):
        weight = weights[weights_at + i]
        factors[i] = scale / weight if weight != 0 else scale


@inlined
def bounded_reciprocals(factors, weights, weights_at, bounds, token, scale, rows):
    """Fills factors with scale / max(|scale times the total weight|, the bound), computed in float64, where bounds are as wide."""
    for i in range(rows):
        factors[i] = scale / max(abs(np.float64(weights[weights_at + i])), bounds[token + i])


@inlined
def bounded_gradients(d_weights, weights, weights_at, bounds, token, rows):
    """Clears the gradients of total weights below their bounds, and halves them where both are equal."""
    for i in range(rows):
        weight, bound = abs(np.float64(weights[weights_at + i])), bounds[token + i]
        d_weights[i] = d_weights[i] if weight > bound else d_weights.dtype.type(0.5) * d_weights[i] if weight == bound else 0


@reassociated
def weighed(scores, d_scores, start, count):
    """Returns the sum of the products of two rows up to the diagonal, in float64."""
    total, row, other = 0.0, scores[start : start + count], d_scores[start : start + count]
    for j in range(count):
        total += np.float64(row[j]) * other[j]  # float() of a float32 stays one
    return total


@inlined
def gradients_of_weights(d_weights, scores, d_scores, queries, d_queries, since, weights, weights_at, scale, rows, chunk, width):
    """Fills d_weights with the gradient of each total weight, - sum_j s_ij dS_ij / weight, the past's by the query and its gradient.

    Of the same dS that it is then added to, and not by out . d_out, which equals it only to their rounding: where a query reads one
    token alone, both cancel.
    """
    for i in range(rows):
        weight, past = np.float64(weights[weights_at + i]), since[i] * dot(queries, i * width, d_queries, i * width, width)
        d_weights[i] = -(weighed(scores, d_scores, i * chunk, i + 1) + past) / (weight / scale) if weight != 0 else 0


@inlined
def weight_gradients(d_weights, d_rows, width, out, out_at, dim, weights, weights_at, rows):
    """Fills d_weights with the gradient of each total weight, - out . d_out / weight; d_rows [..][width] holds d_out / weight."""
    for i in range(rows):
        d_weights[i] = 0
        if weights[weights_at + i] != 0:
            d_weights[i] = -dot(out, out_at + i * dim, d_rows, i * width, dim)


@inlined
def through_weights(d_scores, d_queries, d_total, d_chunk, d_weights, queries, total, since, rows, chunk, width):
    """Adds to the gradients of the scores, of the queries and of the sum of keys before the chunk what comes by the total weights.

    The scores and queries are those after their fading, which `since` is of the queries.
    """
    for c in range(width):
        d_chunk[c] = 0
    for i in range(rows):
        slope = d_weights[i]
        for j in range(i * chunk, i * chunk + i + 1):
            d_scores[j] += slope
        add_scaled(d_queries, i * width, total, 0, slope, width)
        add_scaled(d_chunk, 0, queries, i * width, since[i] * slope, width)
    add_all(d_total, d_chunk, width)
