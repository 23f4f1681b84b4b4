"""float16 and bfloat16: gradients are computed in float32 and come back in the dtype of the input."""

import ml_dtypes
import numpy as np
import pytest

from tinyattn.engine import Tensor, grad, value_and_grad, vjp

HALVES = [np.float16, ml_dtypes.bfloat16]


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_come_back_in_the_dtype_of_the_leaf(dtype):
    x = np.array([1.0, 2.0, 3.0], dtype)
    value, g = value_and_grad(lambda t: (t["x"] * t["x"]).sum() * 2)({"x": x, "n": 3})
    assert g["x"].dtype == dtype
    np.testing.assert_array_equal(g["x"].astype(float), [4.0, 8.0, 12.0])
    assert float(value) == 28.0
    t = Tensor(x)
    (t.astype(np.float32) ** 2).sum().backward()
    (t * 1).sum().backward()
    assert t.grad.dtype == dtype
    np.testing.assert_array_equal(t.grad.astype(float), [3.0, 5.0, 7.0])
    assert t.astype(np.float64).astype(dtype).dtype == dtype
    scalar = grad(lambda t: t[0] * 3)([x[0], x])
    assert (scalar[0].dtype, float(scalar[0])) == (dtype, 3.0)


@pytest.mark.parametrize("dtype", HALVES)
def test_every_kind_of_row_takes_them(dtype):
    x = np.array([[0.5, 1.0], [2.0, 0.25]], dtype)
    for f in (np.exp, np.sqrt, np.transpose, np.ravel, lambda t: np.concatenate([t, t]), lambda t: t[np.array([0, 0])], np.max, np.mean,
              lambda t: np.split(t, 2)[0], lambda t: np.where(t > 0.5, t, t * 2), lambda t: t @ t.T, lambda t: np.stack([t, t]), np.cumsum, np.median):
        out, pullback = vjp(lambda t, f=f: f(t), x)
        g = pullback(np.ones(out.shape, out.dtype))
        assert (g.dtype, g.shape) == (x.dtype, x.shape)
        wide = vjp(lambda t, f=f: f(t), x.astype(np.float32))[1](np.ones(out.shape, np.float32))
        np.testing.assert_allclose(g.astype(float), wide, rtol=4 * float(ml_dtypes.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_second_derivative_of_them(dtype):
    x = np.array([1.0, 2.0], dtype)
    g = grad(lambda t: grad(lambda u: (np.exp(u) * u * u).sum())(t).sum())(x)
    assert g.dtype == dtype
    want = np.exp([1.0, 2.0]) * (np.array([1.0, 2.0]) ** 2 + 4 * np.array([1.0, 2.0]) + 2)
    # The chain passes through three numbers of this dtype: each rounds by half an eps.
    np.testing.assert_allclose(g.astype(float), want, rtol=3 * float(ml_dtypes.finfo(dtype).eps))


def test_gradients_of_many_float16_neither_overflow_nor_vanish():
    x = np.full(3000, 30, np.float16)
    assert np.mean(Tensor(x)).value == 30.0
    np.testing.assert_array_equal(grad(np.mean)(x), np.full(3000, np.float16(1 / 3000)))
    np.testing.assert_array_equal(grad(np.max)(np.ones(70_000, np.float16)), np.full(70_000, np.float16(1 / 70_000)))
    np.testing.assert_array_equal(grad(lambda t: np.square(t).sum())(np.array([200.0], np.float16)), np.float16([400.0]))
    # 100,000 gradients of 1e-3 are summed in float32: one float16 would stand still at 2.
    assert grad(lambda b: (b * np.full(100_000, 1e-3, np.float32)).sum())(np.ones(1, np.float16))[0] == np.float16(100.0)
    table = grad(lambda t: (t[np.zeros(5000, int)] * np.float16(1.0)).sum())(np.ones((2, 1), np.float16))
    np.testing.assert_array_equal(table, np.float16([[5000.0], [0.0]]))
