"""Functions with several results: one walk, one call of their backward, and arrays of their own."""

import numpy as np
import pytest

from tinyattn.engine import Tensor, grad, primitive, vjp
from tinyattn.engine.graph import ancestry


def counted():
    """Returns a primitive with the outputs x * y and x + y, and the list of its backward's calls."""
    calls = []

    @primitive
    def both(x, y):
        return (x * y, x + y), (x, y)

    @both.backward
    def _(d_out, saved):
        calls.append(d_out)
        x, y = saved
        return {"x": d_out[0] * y + d_out[1], "y": d_out[0] * x + d_out[1]}

    return both, calls


def test_a_pullback_of_several_results_runs_each_backward_once():
    both, calls = counted()
    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    _, pullback = vjp(lambda t: both(*t), (x, y))
    for times in (1, 2):
        d_x, d_y = pullback((np.array([1.0, 10.0]), np.array([7.0, 7.0])))
        np.testing.assert_array_equal(d_x, [10.0, 57.0])
        np.testing.assert_array_equal(d_y, [8.0, 27.0])
        assert len(calls) == times


def test_one_result_that_stands_twice_has_both_gradients():
    def twice(t):
        square = t * t
        return {"first": square, "second": [square, t]}

    _, pullback = vjp(twice, np.array([3.0]))
    assert pullback({"first": np.array([1.0]), "second": [np.array([10.0]), np.array([100.0])]}) == 1.0 * 6.0 + 10.0 * 6.0 + 100.0


def test_the_pullback_of_several_results_is_differentiated():
    def f(t):
        d_x, d_y = vjp(lambda u: (u[0] * u[1] ** 2, u[0].sum()), (t, t * 2.0))[1]((t, np.array(1.0)))
        return (d_x + d_y).sum()

    # d_x = t (2t)^2 + 1, d_y = t 2 t (2t): their sum is 8 t^3 + 1.
    np.testing.assert_allclose(grad(f)(np.array([1.0, 2.0])), [24.0, 96.0], rtol=1e-15)


@pytest.mark.parametrize("f", [lambda t, c: np.broadcast_arrays(t, c), lambda t, c: np.atleast_2d(t, c), lambda t, c: np.meshgrid(t, c, copy=False)])
def test_a_constant_that_its_owner_changes_changes_no_result(f):
    constant = np.array([1.0, 2.0])
    out = f(Tensor(np.array([3.0, 4.0])), constant)[1]
    before = out.value.copy()
    constant[:] = 9.0
    np.testing.assert_array_equal(out.value, before)


def test_an_inner_gradient_does_not_walk_the_graph_outside():
    x = Tensor(np.ones(2))
    for _ in range(50):
        x = x * 1.5
    start = Tensor(np.ones(1)).node.born
    y = x * 2.0
    assert len(ancestry([y.node])) == 52
    assert ancestry([y.node], start) == [x.node, y.node]


def test_a_line_of_two_numbers_is_its_ends():
    weights = np.array([2.0, 5.0])
    d_start, d_stop = vjp(lambda ends: np.linspace(ends[0], ends[1], 2), (np.array(1.0), np.array(4.0)))[1](weights)
    assert (d_start, d_stop) == (2.0, 5.0)


def test_gradients_of_arrays_joined_in_depth_are_their_own_slices():
    a, b = np.ones((2, 3, 2)), np.ones((2, 3, 1))
    weights = np.arange(18.0).reshape(2, 3, 3)
    d_a, d_b = vjp(lambda t: np.dstack(t), [a, b])[1](weights)
    np.testing.assert_array_equal(d_a, weights[..., :2])
    np.testing.assert_array_equal(d_b, weights[..., 2:])
    a, b, weights = np.ones((1, 2, 3, 2)), np.ones((1, 2, 1, 2)), np.arange(16.0).reshape(1, 2, 4, 2)
    d_a, d_b = vjp(lambda t: np.dstack(t), [a, b])[1](weights)
    np.testing.assert_array_equal(np.concatenate((d_a, d_b), axis=2), weights)
