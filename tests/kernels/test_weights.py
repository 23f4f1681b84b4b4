"""Matrices as files store them: the kernel against the same matrix, widened by NumPy."""

import sys

import numpy as np
import pytest

from tinyattn import kernels
from tinyattn.kernels import weights
from tinyattn.kernels.tiles.blocks import BLOCKS, CODES, sizes
from tinyattn.layers.affine import Affine
from tinyattn.ops.files.stored import Stored

INPUTS = 512


def stored(code, rows, inputs=INPUTS, seed=0):
    """A random matrix of any bits, whose scales and minima are moderate."""
    rng = np.random.default_rng(seed)
    if code in BLOCKS:
        size, count = BLOCKS[code]
        raw = rng.integers(0, 256, (rows * inputs // count, size), dtype=np.uint8)
        for at in [208] if code == "Q6_K" else [0, 2] if code in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else [0]:
            raw[:, at : at + 2] = (rng.standard_normal(len(raw)) * 0.01).astype("<f2").view(np.uint8).reshape(-1, 2)
    else:
        wide = rng.standard_normal((rows, inputs)).astype(np.float32)
        raw = {"F32": wide, "F16": wide.astype(np.float16), "BF16": (wide.view(np.uint32) >> 16).astype(np.uint16)}[code].view(np.uint8)
    return Stored("w", code, (rows, inputs), raw.reshape(-1))


@pytest.mark.parametrize("code", CODES)
def test_the_product_is_that_of_the_widened_matrix(code):
    for rows, count in ((4, 1), (67, 1), (67, weights.FEW), (67, weights.FEW + 1)):
        matrix, x = stored(code, rows), np.random.default_rng(1).standard_normal((count, INPUTS))
        wide = matrix.array(np.float64)
        size = np.abs(x) @ np.abs(wide).T
        for dtype in (np.float32, np.float64):
            out = weights.stored_product(x.astype(dtype), matrix.raw, code, rows)
            assert out.dtype == dtype and out.shape == (count, rows)
            # Sums of up to 512 products err by a few units in the last place of the sum of their sizes.
            assert (np.abs(out - x.astype(dtype).astype(float) @ wide.T) <= 4 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("code", CODES)
def test_widened_weights_have_the_bits_that_numpy_gives(code):
    matrix = stored(code, 5)
    tile = np.empty(matrix.shape[0] * INPUTS, np.float32)
    per_row = INPUTS // sizes(code)[1]
    weights.widened_to(tile, matrix.raw.view(weights.dtype_of(code)), per_row, 4 * per_row, sizes(code)[1])
    np.testing.assert_array_equal(tile[: 4 * INPUTS].reshape(4, -1).view(np.uint32), matrix.rows(1, 5).view(np.uint32))


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)
    monkeypatch.setattr(weights, "LEAST_WORK", 1)
    matrix, x = stored("Q4_1", 1001), np.random.default_rng(1).standard_normal((9, INPUTS)).astype(np.float32)
    for some in (x[:1], x):
        found = []
        for number in (1, 3):
            with kernels.threads(number):
                found.append(weights.stored_product(some, matrix.raw, "Q4_1", 1001))
        np.testing.assert_array_equal(*found)


def test_what_the_kernel_does_not_read_is_left_to_numpy():
    x = np.ones((1, 24), np.float32)
    odd = Stored("w", "F32", (8, 24), np.ones((8, 24), np.float32).view(np.uint8).reshape(-1))
    few = Stored("w", "F32", (3, 64), np.ones((3, 64), np.float32).view(np.uint8).reshape(-1))
    double = Stored("w", "F64", (8, 24), np.ones((8, 24)).view(np.uint8).reshape(-1))
    assert weights.stored_product(np.ones((1, 64), np.float32), few.raw, "F32", 3) is None
    assert weights.stored_product(x, double.raw, "F64", 8) is None
    for matrix in (odd, double):
        np.testing.assert_array_equal(Affine(matrix)(x), np.full((1, 8), 24.0))
    np.testing.assert_array_equal(Affine(few)(np.ones((2, 64), np.float32)), np.full((2, 3), 64.0))
    assert Affine(odd)(np.ones((0, 24), np.float32)).shape == (0, 8)


def test_nan_in_weights_and_vector_comes_out_as_nan():
    matrix, x = stored("F32", 8), np.ones((1, INPUTS), np.float32)
    matrix.raw.view(np.float32)[3 * INPUTS + 5] = np.nan
    out = weights.stored_product(x, matrix.raw, "F32", 8)[0]
    assert np.isnan(out[3]) and np.isfinite(np.delete(out, 3)).all()
    x[0, 7] = np.nan
    assert np.isnan(weights.stored_product(x, matrix.raw, "F32", 8)).all()
