"""The gradient of the determinant of a singular matrix, which has no inverse, is its matrix of cofactors."""

import numpy as np
import pytest

from tinyattn.engine import grad
from tinyattn.engine.check import directional

COUNT = np.arange(1.0, 10.0).reshape(3, 3)
STACK = np.stack([COUNT, np.eye(3), np.ones((3, 3)), np.zeros((3, 3))])


@pytest.mark.parametrize(("a", "right"), [
    ([[1.0, 2.0], [2.0, 4.0]], [[4.0, -2.0], [-2.0, 1.0]]), ([[0.0]], [[1.0]]), (np.zeros((2, 2)), np.zeros((2, 2))),
    (np.diag([1.0, 2.0, 0.0]), np.diag([0.0, 0.0, 2.0])), ([[0.0, 3.0], [0.0, 5.0]], [[5.0, 0.0], [-3.0, 0.0]])])
def test_a_singular_matrix_gets_its_cofactors(a, right):
    np.testing.assert_allclose(grad(np.linalg.det)(np.array(a)), right, rtol=0, atol=1e-14)


def test_each_matrix_of_a_stack_gets_its_own():
    whole = grad(lambda x: np.linalg.det(x).sum())(STACK)
    np.testing.assert_allclose(whole, [grad(np.linalg.det)(a) for a in STACK], rtol=0, atol=1e-14)
    np.testing.assert_allclose(whole[0], [[-3.0, 6.0, -3.0], [6.0, -12.0, 6.0], [-3.0, 6.0, -3.0]], rtol=0, atol=1e-13)
    np.testing.assert_allclose(whole[1], np.eye(3), rtol=0, atol=1e-15)


def test_the_second_derivative_is_the_slope_of_the_first():
    rng = np.random.default_rng(0)
    analytic, numeric = directional(lambda x: grad(lambda y: np.linalg.det(y).sum())(x), STACK[2:], rng)
    # The gradient of a 3 by 3 determinant is quadratic: a central difference errs by rounding alone, eps / 1e-6.
    assert abs(analytic - numeric) <= 1e-9
    assert abs(analytic) > 0.01
