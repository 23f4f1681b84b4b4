"""The pieces under the kernels, each against NumPy: products of tiles, turned and packed rows, softmax down columns."""

import numpy as np
import pytest
from numba import njit

from tinyattn.kernels.tiles import lanes, vector
from tinyattn.kernels.tiles import product as tile
from tinyattn.kernels.tiles.dots import KEYS, LINES, dots
from tinyattn.kernels.tiles.hidden import hide_row
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import FEW
from tinyattn.kernels.tiles.vector import column_exp, column_max, column_slope, column_tanh, column_weighed

RNG = np.random.default_rng
FAR = 1 << 60
DTYPES = (np.float32, np.float64)
# Kernels alone call these: here they get an entry from Python.
product_add, product_add_few, product_set, pack_rows, transpose_rows = (
    njit(piece.py_func) for piece in (tile.product_add, tile.product_add_few, tile.product_set, vector.pack_rows, vector.transpose_rows))
NEAR = {np.float32: {"rtol": 1e-6, "atol": 1e-5}, np.float64: {"rtol": 1e-14, "atol": 1e-14}}


@njit
def inner(s, at, width, q, q_at, q_row, k, k_at, k_row, depth):
    dots(s, at, width, q, q_at, q_row, k, k_at, k_row, depth)


@njit
def largest(s, rows, width, shift, total):
    column_max(s, rows, width, shift, total)


@njit
def exponentials(s, rows, width, shift, total):
    column_exp(s, rows, width, shift, total)


@njit
def tangents(s, rows, width, shift, total):
    column_tanh(s, rows, width, shift, total)


@njit
def slopes(s, other, rows, width, shift, total):
    column_weighed(s, other, rows, width, shift, total)
    column_slope(s, other, rows, width, shift, total)


@njit
def hidden(s, at, width, start, stop):
    hide_row(s, at, width, start, stop)


def panels(x, micro):
    """[rows][columns] as [columns // micro][rows][micro]."""
    return np.ascontiguousarray(x.reshape(len(x), x.shape[1] // micro, micro).swapaxes(0, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("turned_a", [False, True])
@pytest.mark.parametrize("blocks", [(1, 1), (3, 2)])
@pytest.mark.parametrize("depth", [0, 1, 4, 7, 64])
def test_a_product_is_numpys(dtype, turned_a, blocks, depth):
    rng, micro = RNG(depth), lanes.columns(np.dtype(dtype).itemsize)
    rows, columns = blocks[0] * ROWS, blocks[1] * micro
    a, b = rng.standard_normal((rows, depth)).astype(dtype), rng.standard_normal((depth, columns)).astype(dtype)
    wide = rng.standard_normal((rows + 1, columns + 3)).astype(dtype)  # C stands inside of something larger
    flat_a, strides = (a.T.copy(), (1, rows)) if turned_a else (a, (depth, 1))
    want = wide.copy()
    want[1:, 2 : 2 + columns] += a @ b
    c = wide.reshape(-1).copy()
    place = (columns + 3) + 2
    shape = (flat_a.reshape(-1), 0, *strides, panels(b, micro).reshape(-1), depth * micro, rows, columns, depth, micro, -FAR, FAR)
    product_add(c, place, columns + 3, micro, *shape)
    np.testing.assert_allclose(c, want.reshape(-1), **NEAR[dtype])
    want[1:, 2 : 2 + columns] = a @ b
    product_set(c, place, columns + 3, micro, *shape)
    np.testing.assert_allclose(c, want.reshape(-1), **NEAR[dtype])


@pytest.mark.parametrize("below", [-FAR, -9, 0, 5, 200])
@pytest.mark.parametrize("above", [-200, -3, 0, 17, FAR])
def test_of_a_band_all_that_is_seen_is_computed_and_nothing_else_is_read(below, above):
    micro = lanes.columns(8)
    rows, columns, depth = 5 * ROWS, 3 * micro, 37
    rng = RNG(0)
    row = np.arange(rows)[:, None]
    taken = (np.arange(depth) >= row + below) & (np.arange(depth) <= row + above)
    a = np.where(taken, rng.standard_normal((rows, depth)), 0)
    b = rng.standard_normal((depth, columns))
    never = ~np.array([taken[n // ROWS * ROWS : n // ROWS * ROWS + ROWS].any(axis=0) for n in range(rows)])
    c = np.zeros(rows * columns)
    product_add(c, 0, columns, micro, np.where(never & ((np.arange(depth) < row - ROWS + below) | (np.arange(depth) > row + ROWS + above)),
                                       np.nan, a).reshape(-1), 0, depth, 1, panels(b, micro).reshape(-1), depth * micro,
        rows, columns, depth, micro, below, above)
    np.testing.assert_allclose(c.reshape(rows, columns), a @ b, rtol=1e-13, atol=1e-13)

    dense = rng.standard_normal((rows, depth))
    c = np.full(rows * columns, np.nan)
    product_set(c, 0, columns, micro, dense.reshape(-1), 0, depth, 1, panels(b, micro).reshape(-1), depth * micro, rows, columns, depth,
        micro, below, above)
    seen = (np.arange(columns) >= row + below) & (np.arange(columns) <= row + above)
    np.testing.assert_allclose(c.reshape(rows, columns)[seen], (dense @ b)[seen], rtol=1e-13, atol=1e-13)
    far = (np.arange(columns) // micro * micro > row + ROWS + above) | (np.arange(columns) // micro * micro + micro <= row - ROWS + below)
    assert np.isnan(c.reshape(rows, columns)[far]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_with_few_rows_is_numpys(dtype):
    rng, micro = RNG(1), lanes.columns(np.dtype(dtype).itemsize)
    a, b = rng.standard_normal((FEW, 5)).astype(dtype), rng.standard_normal((5, 2 * micro)).astype(dtype)
    c = np.ones((FEW, 2 * micro), dtype)
    product_add_few(c.reshape(-1), 0, 2 * micro, a.reshape(-1), 0, 5, 1, b.reshape(-1), 0, 2 * micro, FEW, 2 * micro, 5, micro)
    np.testing.assert_allclose(c, 1 + a @ b, **NEAR[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_inner_products_are_numpys(dtype):
    rng, depth = RNG(2), 2 * lanes.columns(np.dtype(dtype).itemsize)
    k, q = rng.standard_normal((KEYS, depth + 3)).astype(dtype), rng.standard_normal((LINES, depth)).astype(dtype)
    s = np.full((KEYS, LINES + 2), 7, dtype)
    inner(s.reshape(-1), 1, LINES + 2, q.reshape(-1), 0, depth, k.reshape(-1), 0, depth + 3, depth)
    np.testing.assert_allclose(s[:, 1 : 1 + LINES], k[:, :depth] @ q.T, **NEAR[dtype])
    assert (s[:, 0] == 7).all()
    assert (s[:, -1] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", [0, 1, 13])
def test_rows_are_turned_and_packed(dtype, missing):
    size = np.dtype(dtype).itemsize
    micro, block = lanes.columns(size), lanes.lanes(size)
    width, dim = 2 * micro, 3 * micro
    rows = width - missing
    x = RNG(3).standard_normal((rows, dim)).astype(dtype)
    target = np.full(dim * width, np.nan, dtype)
    transpose_rows(target, width, x.reshape(-1), 0, dim, rows, dtype(3), block, micro)
    whole = np.concatenate([x * dtype(3), np.zeros((missing, dim), dtype)])
    np.testing.assert_array_equal(target, panels(np.ascontiguousarray(whole.T), micro).reshape(-1))
    target = np.zeros(dim * width, dtype)
    pack_rows(target, width, x.reshape(-1), 0, dim, rows, dtype(3), micro)
    np.testing.assert_array_equal(target, panels(whole, micro).reshape(-1))


def test_a_product_errs_less_than_one_long_sum():
    rng, micro, depth = RNG(6), lanes.columns(4), 128
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((8 * ROWS, depth), (depth, 4 * micro)))
    c, truth = np.zeros((8 * ROWS, 4 * micro), np.float32), a.astype(np.float64) @ b
    product_set(c.reshape(-1), 0, 4 * micro, micro, a.reshape(-1), 0, depth, 1, panels(b, micro).reshape(-1), depth * micro, 8 * ROWS,
                4 * micro, depth, micro, -FAR, FAR)
    long = np.add.accumulate(a[:, :, None] * b, axis=1, dtype=np.float32)[:, -1]
    # Four sums of 32 have 0.53 times the error of one of 128, if each addition errs alike.
    assert np.sqrt(np.mean((c - truth) ** 2)) < 0.75 * np.sqrt(np.mean((long - truth) ** 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_down_columns(dtype):
    width, eps = 2 * lanes.columns(np.dtype(dtype).itemsize), np.finfo(dtype).eps
    s = (30 * RNG(4).standard_normal((50, width))).astype(dtype)
    s[7, 3], s[:, 5] = -np.inf, -np.inf
    top = np.full(width, -np.inf, dtype)
    largest(s.reshape(-1), 50, width, top, top)
    np.testing.assert_array_equal(top, s.max(axis=0))
    shift, total = np.where(np.isinf(top), dtype(0), top), np.ones(width, dtype)
    want = np.exp((s - shift).astype(np.float64))
    powers = s.copy()
    exponentials(powers.reshape(-1), 50, width, shift, total)
    np.testing.assert_allclose(powers, want, rtol=4 * eps, atol=4 * np.finfo(dtype).tiny)
    np.testing.assert_allclose(total, 1 + want.sum(axis=0), rtol=60 * eps)
    bent = s / dtype(30)
    tangents(bent.reshape(-1), 50, width, total, total)
    np.testing.assert_allclose(bent, np.tanh((s / dtype(30)).astype(np.float64)), rtol=4 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponentials_at_every_size(dtype):
    eps, width = np.finfo(dtype).eps, lanes.columns(np.dtype(dtype).itemsize)
    low = float(np.log(np.finfo(dtype).tiny))
    x = np.concatenate([np.linspace(low + 0.5, 0, 64 * width - 5), [-np.inf, np.nan, -1e30, 2 * low, -0.0]]).astype(dtype)
    total, none = np.zeros(width, dtype), np.zeros(width, dtype)
    got = x.copy()
    exponentials(got, 64, width, none, total)
    with np.errstate(under="ignore"):
        want = np.exp(x.astype(np.longdouble)).astype(dtype)
    np.testing.assert_allclose(got[:-5], want[:-5], rtol=2 * eps)
    np.testing.assert_array_equal(got[-5:], np.array([0, np.nan, 0, 0, 1], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_of_a_softmax_and_what_is_hidden_are_numpys(dtype):
    rng, width = RNG(7), lanes.columns(np.dtype(dtype).itemsize)
    s, other = rng.standard_normal((2, 5, width)).astype(dtype)
    shift, total = rng.standard_normal((2, width)).astype(dtype)
    want, sums = (s - shift) * other, total + (s * other).sum(axis=0)
    slopes(s.reshape(-1), other.reshape(-1), 5, width, shift, total)
    np.testing.assert_allclose(s, want, **NEAR[dtype])
    np.testing.assert_allclose(total, sums, **NEAR[dtype])
    for start, stop in ((0, width), (1, 3), (width, width), (width - 1, width), (0, 0)):
        got, seen = s.copy(), np.zeros(s.shape, bool)
        seen[2, :start] = seen[2, stop:] = True
        hidden(got.reshape(-1), 2 * width, width, start, stop)
        np.testing.assert_array_equal(got, np.where(seen, -np.inf, s))


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS + 1, 3 * ROWS - 1])
def test_a_product_reads_no_row_after_the_last(rows):
    rng, micro, held = RNG(8), lanes.columns(8), max(rows, ROWS)
    a, b = rng.standard_normal((held, 5)), rng.standard_normal((5, micro))
    c = np.full((held, micro), 7.0)
    product_set(c.reshape(-1), 0, micro, micro, a.reshape(-1), 0, 5, 1, b.reshape(-1), 5 * micro, rows, micro, 5, micro, -FAR, FAR)
    np.testing.assert_allclose(c[:rows], (a @ b)[:rows], rtol=1e-13, atol=1e-13)
