"""The feed-forward layer in one kernel, against its three steps in NumPy: forward, backward and differentiated twice."""

import sys

import numpy as np
import pytest

from tests.kernels.test_steps import RNG, curved, spent, strided, with_slopes
from tinyattn import kernels
from tinyattn.engine import vjp
from tinyattn.kernels.steps import feed_forward
from tinyattn.layers import SwiGLU
from tinyattn.ops.activation import swiglu

threads = sys.modules["tinyattn.kernels.tiles.threads"]  # the package's attribute of this name is the function
# Rows, width, hidden: below and above a block of rows, and the parts of a gradient that a task computes.
SIZES = {"a few rows": ((8,), 32, 64), "rows of a block and more": ((3, 24), 64, 32), "parts of gradients": ((2, 8), 160, 288)}


def by_kernel(x, gate, up, down):
    assert feed_forward.fits(x, gate, up, down)
    return feed_forward.feed_forward(x, gate, up, down)


def in_numpy(x, gate, up, down):
    return swiglu(x @ gate, x @ up) @ down


def drawn(name, dtype=np.float64, lay=np.asarray):
    rng, (rows, width, hidden) = RNG(len(name)), SIZES[name]
    shapes = (*rows, width), (width, hidden), (width, hidden), (hidden, width)
    return tuple(lay((rng.standard_normal(shape) / 4.0).astype(dtype)) for shape in shapes)


@pytest.mark.parametrize("lay", [np.asarray, strided])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SIZES)
def test_the_kernel_and_its_gradients_are_the_three_steps(name, dtype, lay):
    assert spent(with_slopes(by_kernel), with_slopes(in_numpy), drawn(name, dtype, lay)) <= 1.0


@pytest.mark.parametrize("name", SIZES)
def test_it_is_differentiated_twice(name):
    assert spent(curved(by_kernel), curved(in_numpy), drawn(name)) <= 1.0


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(threads, "LEAST_WORK", 1)
    shared, submit = set(), threads.POOL.submit
    monkeypatch.setattr(threads.POOL, "submit", lambda f, *rest: (shared.add(f.__name__), submit(f, *rest))[1])
    x, *matrices = (a.astype(np.float32) for a in (RNG(0).standard_normal((512, 128)), *drawn("rows of a block and more")[1:]))
    x = np.ascontiguousarray(x[:, :64])
    found = []
    for number in (1, 2, 5):
        with kernels.threads(number):
            value, pull = vjp(lambda given: by_kernel(*given), (x, *matrices))
            found.append([value, *pull(x)])
        assert shared == (set() if number == 1 else {"rows_through", "rows_back", "matrices_back"})
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_backward_can_be_called_again():
    arrays = drawn("a few rows")
    _, pull = vjp(lambda given: by_kernel(*given), arrays)
    first = [slope.copy() for slope in pull(arrays[0])]
    for one, two in zip(first, pull(arrays[0]), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_gate_that_is_not_finite_stays_in_its_row():
    arrays = drawn("rows of a block and more", np.float32)
    arrays[0][1, 2, 3] = np.nan
    out = by_kernel(*arrays)
    assert np.isnan(out[1, 2]).all()
    assert np.isnan(out).sum() == out.shape[-1]


@pytest.mark.parametrize("shape", [(64, 4, 128), (63, 5, 128), (512, 132)])
def test_the_layer_takes_it_where_it_fits(shape, monkeypatch):
    calls, layer = [], SwiGLU.create(RNG(0), shape[-1], 64)
    real = feed_forward.through
    monkeypatch.setattr(feed_forward, "through", lambda *given: calls.append(1) or real(*given))
    x = RNG(1).standard_normal(shape).astype(np.float32)
    assert spent(lambda *given: [SwiGLU(*given[1:])(given[0])], lambda *given: [in_numpy(*given)],
                 (x, layer.gate, layer.up, layer.down)) <= 1.0
    assert len(calls) == (shape == (64, 4, 128))
