"""The error function and exact GELU: all digits of float64, and their gradients."""

import math

import numpy as np
import pytest

from tinyattn import grad
from tinyattn.ops import erf, exact_gelu
from tinyattn.ops.erf import normal_share

EPS = 2.0 ** -52
X = np.concatenate([np.linspace(-6, 6, 4001), [0.0, -0.0, 5e-324, 1e-300, -1e-10, 1.0, np.nextafter(1.0, 0), -1.0, 26.0, 30.0, 1e308]])


def test_erf_is_that_of_the_standard_library():
    expected = np.array([math.erf(x) for x in X])
    assert (np.abs(erf(X) - expected) <= 2 * EPS * np.abs(expected)).all()  # 1.3 measured
    np.testing.assert_array_equal(erf(np.array([np.inf, -np.inf, np.nan])), [1, -1, np.nan])


def test_the_tail_keeps_its_digits():
    x = np.linspace(-36, 2, 2001)
    expected = np.array([math.erfc(-z) / 2 for z in x * math.sqrt(0.5)])
    # exp(-x^2 / 2) loses digits as x^2 is rounded: half an eps of x^2, twice
    assert (np.abs(normal_share(x) - expected) <= (4 + x * x) * EPS * expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_gelu_is_x_times_the_share_below_x(dtype):
    x = np.concatenate([np.linspace(-9, 9, 2001), X[:-1]]).astype(dtype)
    expected = np.array([float(v) * math.erfc(-float(v) * math.sqrt(0.5)) / 2 for v in x])
    got = exact_gelu(x)
    assert got.dtype == dtype
    eps = np.finfo(dtype).eps
    assert (np.abs(got - expected) <= 4 * eps * np.maximum(np.abs(expected), 1.0)).all()
    np.testing.assert_array_equal(exact_gelu(np.array([np.inf, -np.inf, np.nan], dtype)), [np.inf, 0, np.nan])


def test_exact_gelu_is_not_its_tanh_form():
    from tinyattn.ops import gelu
    x = np.linspace(-4, 4, 801)
    assert 4e-4 < np.abs(gelu(x) - exact_gelu(x)).max() < 6e-4


def test_gradients_are_the_derivatives():
    x = np.linspace(-8, 8, 2001)
    bell = np.exp(-x * x)
    np.testing.assert_allclose(grad(lambda a: np.sum(erf(a)))(x), 2 / math.sqrt(math.pi) * bell, rtol=0, atol=8 * EPS)
    share = np.array([math.erfc(-v * math.sqrt(0.5)) / 2 for v in x])
    expected = share + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(grad(lambda a: np.sum(exact_gelu(a)))(x), expected, rtol=0, atol=8 * EPS)


def test_half_precision_is_computed_in_float32():
    x = np.array([0.5, -3.0], np.float16)
    assert exact_gelu(x).dtype == np.float16
    np.testing.assert_array_equal(exact_gelu(x), exact_gelu(x.astype(np.float32)).astype(np.float16))


@pytest.mark.parametrize("function", [erf, exact_gelu])
def test_integers_are_refused(function):
    with pytest.raises(TypeError, match="x"):
        function(np.arange(3))
