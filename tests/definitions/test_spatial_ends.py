"""Spatial attention at its ends: gradients, cost, half precision, NaN."""

import math

import numpy as np
import pytest
from oracle import image

from tinyattn import definitions
from tinyattn.engine import Tensor
from tinyattn.engine.check import directional
from tinyattn.engine.graph import ancestry
from tinyattn.ops import rotary_2d

CLOSE = {"rtol": 1e-13, "atol": 1e-14}


CALLS = {
    "shifted_window": lambda t: definitions.shifted_window_attention(t["q"], t["k"], t["v"], grid=(4, 4), window=2, shift=1,
                                                                     bias_table=t["table"]),
    "axial": lambda t: definitions.axial_attention(t["q"], t["k"], t["v"], grid=(2, 8), axis=0),
    "neighborhood": lambda t: definitions.neighborhood_attention(t["q"], t["k"], t["v"], grid=(4, 4), kernel=(3, 2), stride=(1, 2),
                                                                 causal=(True, False)),
    "locally_grouped": lambda t: definitions.locally_grouped_attention(t["q"], t["k"], t["v"], grid=(4, 4), window=2),
    "global_subsampled": lambda t: definitions.global_subsampled_attention(t["q"], t["k"], t["v"], grid=(4, 4), ratio=2),
    "spatial_gate": lambda t: definitions.spatial_gate(t["q"], kernel=t["kernel"], bias=t["bias"]),
    "rotary_2d": lambda t: rotary_2d(t["q"], grid=(4, 4)),
}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_every_argument(name):
    q, k, v, rng = image(0, (4, 4))
    tree = {"q": q, "k": k, "v": v, "table": rng.standard_normal((9, 4)), "kernel": rng.standard_normal((2, 3, 3)),
            "bias": rng.standard_normal(())}
    a, b = directional(CALLS[name], tree, rng)
    assert abs(a - b) < 1e-6


LINES = {
    "shifted_window": lambda q, n: definitions.shifted_window_attention(q, q, q, grid=(n,), window=16, shift=8),
    "shifted_window_2d": lambda q, n: definitions.shifted_window_attention(q, q, q, grid=(n // 8, 8), window=4, shift=2),
    "axial": lambda q, n: definitions.axial_attention(q, q, q, grid=(n // 8, 8), axis=1),
    "neighborhood": lambda q, n: definitions.neighborhood_attention(q, q, q, grid=(n,), kernel=7, dilation=2),
    "neighborhood_2d": lambda q, n: definitions.neighborhood_attention(q, q, q, grid=(n // 8, 8), kernel=3),
    "locally_grouped": lambda q, n: definitions.locally_grouped_attention(q, q, q, grid=(n // 8, 8), window=4),
}


@pytest.mark.parametrize("name", LINES)
def test_what_is_computed_grows_with_the_cells(name):
    def computed(length):
        out = LINES[name](Tensor(np.ones((1, length, 8))), length)
        return sum(math.prod(node.shape) for node in ancestry([out.node]))

    assert computed(1024) <= 2.01 * computed(512)
    assert computed(1024) < 1024 * 1024 / 2  # the square of all pairs stands in several arrays of the full form


@pytest.mark.parametrize("name", ["shifted_window", "axial", "neighborhood", "locally_grouped", "global_subsampled"])
def test_half_precision_is_computed_in_single_and_leading_axes_are_free(name):
    q, k, v, rng = image(0, (4, 4))
    tree = {"q": q, "k": k, "v": v, "table": rng.standard_normal((9, 4))}
    half = {key: x.astype(np.float16) for key, x in tree.items()}
    out = CALLS[name](half)
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, CALLS[name]({key: x.astype(np.float32) for key, x in half.items()}).astype(np.float16))
    more = CALLS[name]({key: x if key == "table" else x[:, None] * np.ones((3, 1, 1, 1)) for key, x in tree.items()})
    np.testing.assert_allclose(more[:, 1], CALLS[name](tree), **CLOSE)
    one = {key: x[0, 0] for key, x in tree.items()} | {"table": tree["table"][:, :1]}
    np.testing.assert_allclose(CALLS[name](one), CALLS[name]({key: x if key == "table" else x[None] for key, x in one.items()})[0], **CLOSE)


def test_the_gate_keeps_its_dtype_and_sums_halves_in_single():
    x = np.full((3, 4, 4), 300.0, np.float16)
    kernel = np.full((2, 3, 3), 20.0, np.float16)  # 9 * 2 * 300 * 20 is more than float16 holds
    np.testing.assert_array_equal(definitions.spatial_gate(x, kernel=-kernel, bias=0.0), np.zeros_like(x))
    for kind in (np.float32, np.float64):
        for bias in (1, 0.5, np.float64(0.5), np.float32(0.5), np.full((), 0.5), np.full((), 0.5, np.float16)):
            assert definitions.spatial_gate(x.astype(kind), kernel=kernel, bias=bias).dtype == kind


def test_nan_reaches_those_who_see_it_and_no_others():
    q, k, v, _ = image(0, (7,))
    for x in (k, v):
        x[..., 6, :] = np.nan
    out = definitions.neighborhood_attention(q, k, v, grid=(7,), kernel=3)
    assert np.flatnonzero(np.isnan(out).all(axis=(0, 1, 3))).tolist() == [5, 6]
    out = definitions.neighborhood_attention(q, k, v, grid=(7,), kernel=4, stride=4, causal=True)
    assert np.flatnonzero(np.isnan(out).any(axis=(0, 1, 3))).tolist() == [6]
    q[..., 0, :] = np.inf  # a row without an answer gives no warning
    out = definitions.neighborhood_attention(q, k, v, grid=(7,), kernel=3)
    assert np.isfinite(out[..., 1:5, :]).all()
