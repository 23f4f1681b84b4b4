"""The features whose products are 1 + s + s^2 / 2, of a chunk at once: channel by channel, each pair of channels only once.

With y = x d^(-1/4) they are 1, y_i, y_i^2 / sqrt(2) and y_i y_j for i < j: half as many as in the definition, whose state holds each
pair twice. A tile of them is [features][chunk].
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.rows import load_rows
from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import TOGETHER, micro_add, micro_set
from tinyattn.kernels.tiles.vector import transpose_rows

HALF, TWO = 0.5 ** 0.5, 2.0 ** 0.5


@inlined
def feature_count(dim):
    """Returns how many features `dim` channels have."""
    return 1 + dim + dim * (dim + 1) // 2


@inlined
def set_product(c, ldc, a, a_row, a_col, b, ldb, rows, columns, depth, micro, below, above):
    """C = A B, as `product_set`, of a B that stands row by row."""
    for column in range(0, columns, micro):
        for row in range(max(0, column - above) // ROWS * ROWS, min(rows, column + micro - below), ROWS):
            micro_set(c, row * ldc + column, ldc, a, row * a_row, a_row, a_col, b, column, ldb, min(depth, TOGETHER))
            for start in range(TOGETHER, depth, TOGETHER):
                micro_add(c, row * ldc + column, ldc, a, row * a_row + start * a_col, a_row, a_col, b, start * ldb + column, ldb,
                          min(depth - start, TOGETHER))


@inlined
def add_product(c, ldc, a, a_row, a_col, b, ldb, rows, columns, depth, micro, below, above):
    """C += A B, as `product_add`, of a B that stands row by row."""
    for column in range(0, columns, micro):
        for row in range(0, rows, ROWS):
            start, stop = max(0, row + below), min(depth, row + ROWS + above)
            micro_add(c, row * ldc + column, ldc, a, row * a_row + start * a_col, a_row, a_col, b, start * ldb + column, ldb,
                      stop - start)


@inlined
def load_channels(y, rows_tile, source, at, step, rows, sizes):
    """Fills y [channels][chunk] with the channels of the rows of source times d^(-1/4); `rows_tile` is a tile to work in."""
    number, dim = y.dtype.type, sizes.head_dim
    load_rows(rows_tile, sizes.head_width, rows, source, at, step, rows, dim, number(dim ** -0.25), sizes.micro_columns)
    transpose_rows(y, sizes.kv_tile, rows_tile, 0, sizes.head_width, rows, number(1), sizes.lanes, sizes.kv_tile)


@reassociated
def fill_features(features, y, dim, chunk):
    """Fills features [features][chunk] with those of y [channels][chunk]."""
    half, at = features.dtype.type(HALF), 1 + 2 * dim
    for c in range(chunk):
        features[c] = 1
    for i in range(dim):
        row = y[i * chunk : (i + 1) * chunk]
        alone, squares = features[(1 + i) * chunk : (2 + i) * chunk], features[(1 + dim + i) * chunk : (2 + dim + i) * chunk]
        for c in range(chunk):
            alone[c] = row[c]
            squares[c] = row[c] * row[c] * half
        for j in range(i + 1, dim):
            other, pair = y[j * chunk : (j + 1) * chunk], features[at * chunk : (at + 1) * chunk]
            for c in range(chunk):
                pair[c] = row[c] * other[c]
            at += 1


@reassociated
def before_features(d_y, d_features, y, slopes, total, dim, chunk):
    """Fills d_y [channels][chunk] with the gradient of y by that of its features, d_features + total slopes^T."""
    two, at = y.dtype.type(TWO), 1 + 2 * dim
    for i in range(dim):
        row, d_row = y[i * chunk : (i + 1) * chunk], d_y[i * chunk : (i + 1) * chunk]
        d_alone, d_squares = d_features[(1 + i) * chunk : (2 + i) * chunk], d_features[(1 + dim + i) * chunk : (2 + dim + i) * chunk]
        alone, squares = total[1 + i], total[1 + dim + i]
        for c in range(chunk):
            d_row[c] = d_alone[c] + slopes[c] * alone + two * row[c] * (d_squares[c] + slopes[c] * squares)
    for i in range(dim):
        row, d_row = y[i * chunk : (i + 1) * chunk], d_y[i * chunk : (i + 1) * chunk]
        for j in range(i + 1, dim):
            other, d_other = y[j * chunk : (j + 1) * chunk], d_y[j * chunk : (j + 1) * chunk]
            d_pair, weight = d_features[at * chunk : (at + 1) * chunk], total[at]
            for c in range(chunk):
                slope = d_pair[c] + slopes[c] * weight
                d_row[c] += slope * other[c]
                d_other[c] += slope * row[c]
            at += 1


@inlined
def store_channels(target, at, d_y, rows_tile, rows, sizes):
    """Fills rows of target with d^(-1/4) times d_y [channels][chunk]; `rows_tile` is a tile to work in."""
    width, dim, factor = sizes.head_width, sizes.head_dim, d_y.dtype.type(sizes.head_dim ** -0.25)
    transpose_rows(rows_tile, width, d_y, 0, sizes.kv_tile, dim, d_y.dtype.type(1), sizes.lanes, width)
    for r in range(rows):
        for c in range(dim):
            target[at + r * dim + c] = rows_tile[r * width + c] * factor


@inlined
def fold_pairs(state, width, source, at, dim, columns):
    """Fills a state [features][width] with one that holds each pair of channels twice, and with zeros where there is none."""
    half, pair = state.dtype.type(HALF), 1 + 2 * dim
    for x in range(state.size):
        state[x] = 0
    for e in range((1 + dim) * columns):
        state[e // columns * width + e % columns] = source[at + e]
    for i in range(dim):
        for j in range(i, dim):
            first, second = at + (1 + dim + i * dim + j) * columns, at + (1 + dim + j * dim + i) * columns
            for e in range(columns):
                if i == j:
                    state[(1 + dim + i) * width + e] = source[first + e]
                else:
                    state[pair * width + e] = (source[first + e] + source[second + e]) * half
            pair += i < j


@inlined
def unfold_pairs(target, at, state, width, before, dim, columns):
    """Fills a state that holds each pair twice; where the two differed in the one before, they differ as much."""
    half, same, zero, pair = state.dtype.type(HALF), state.dtype.type(0.5), state.dtype.type(0), 1 + 2 * dim
    for e in range((1 + dim) * columns):
        target[at + e] = state[e // columns * width + e % columns]
    for i in range(dim):
        for j in range(i, dim):
            first, second = at + (1 + dim + i * dim + j) * columns, at + (1 + dim + j * dim + i) * columns
            for e in range(columns):
                if i == j:
                    target[first + e] = state[(1 + dim + i) * width + e]
                else:
                    left, right, both = before[first + e], before[second + e], state[pair * width + e] * half
                    apart = (left - right) * same if left != right else zero  # two infinities are no NaN
                    target[first + e], target[second + e] = both + apart, both - apart
            pair += i < j


@reassociated
def fill_polynomial(scores, rows, chunk):
    """Replaces scores s [rows][chunk] by 1 + s + s^2 / 2 on and below the diagonal, and by 0 above it."""
    one, half = scores.dtype.type(1), scores.dtype.type(0.5)
    zero = one - one
    for i in range(rows):
        row = scores[i * chunk : (i + 1) * chunk]
        for c in range(chunk):
            s = row[c]
            row[c] = one + s + half * s * s if c <= i else zero


@reassociated
def polynomial_slopes(scores, d_weights, slopes, rows, chunk):
    """Replaces scores s by their weights, and the weights' gradients by (d_weights_ij + slopes_i) (1 + s_ij), 0 above the diagonal."""
    one, half = scores.dtype.type(1), scores.dtype.type(0.5)
    zero = one - one
    for i in range(rows):
        row, d_row, slope = scores[i * chunk : (i + 1) * chunk], d_weights[i * chunk : (i + 1) * chunk], slopes[i]
        for c in range(chunk):
            s = row[c]
            d_row[c] = (d_row[c] + slope) * (one + s) if c <= i else zero
            row[c] = one + s + half * s * s if c <= i else zero


@reassociated
def turned_slopes(scores, d_weights, slopes, rows, chunk):
    """Replaces the weights' gradients, turned, by (d_weights_ji + slopes_i) (1 + s_ji), 0 below the diagonal."""
    one = scores.dtype.type(1)
    zero = one - one
    for j in range(rows):
        row, d_row = scores[j * chunk : (j + 1) * chunk], d_weights[j * chunk : (j + 1) * chunk]
        for c in range(chunk):
            d_row[c] = (d_row[c] + slopes[c]) * (one + row[c]) if c >= j else zero
