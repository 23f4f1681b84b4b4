"""Gradients of slices are added in place into one array: linear in time and memory, and into nobody else's array."""

import numpy as np
import pytest

from tinyattn.engine import Tensor, grad, vjp
from tinyattn.engine.check import directional
from tinyattn.engine.graph import ancestry

X = np.random.default_rng(0).standard_normal((6, 5))
BOOLEAN = X > 0.3
INDICES = {
    "slice": np.s_[1:4], "step": np.s_[::-2, 1:], "number": np.s_[-1], "element": np.s_[2, 3], "new axis": np.s_[:, None, 2:],
    "ellipsis": np.s_[..., 1], "all": np.s_[()], "rows": np.array([0, 2, -1, 0]), "row pairs": (np.array([0, 0]), np.array([1, 1])),
    "table": np.array([[1, -2], [1, 1]]), "boolean": BOOLEAN, "boolean rows": BOOLEAN[:, 0], "mixed": (slice(1, None), np.array([4, 4, 0])),
    "nothing": np.s_[3:3], "list": [1, 1, 5]}


def dense(index, g):
    """Returns what the gradient of X[index] is: zeros with g added where X was read."""
    out = np.zeros_like(X)
    np.add.at(out, index, g)
    return out


@pytest.mark.parametrize("first", INDICES)
@pytest.mark.parametrize("second", INDICES)
def test_slices_of_one_array_add_up(first, second):
    parts = [INDICES[first], INDICES[second]]
    gs = [np.random.default_rng(i).standard_normal(X[index].shape) for i, index in enumerate(parts)]
    want = dense(parts[0], gs[0]) + dense(parts[1], gs[1])
    _, pullback = vjp(lambda t: tuple(t[index] for index in parts), X)
    # One rounding per sum of at most five numbers below 4.
    np.testing.assert_allclose(pullback(tuple(gs)), want, rtol=0, atol=20 * np.finfo(float).eps)
    whole = np.ones_like(X)
    for order in ((0, 1, 2), (2, 0, 1)):  # the gradient of all of x comes after those of the slices, and before
        _, pullback = vjp(lambda t, order=order: tuple([*(t[index] for index in parts), t * 1.0][i] for i in order), X)
        np.testing.assert_allclose(pullback(tuple([*gs, whole][i] for i in order)), want + 1.0, rtol=0, atol=20 * np.finfo(float).eps)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_gradient_has_the_dtype_of_the_array(dtype):
    g = grad(lambda t: (t[1:3].astype(np.float64) * 2.0).sum() + t[2].sum())(X.astype(dtype))
    assert g.dtype == dtype
    np.testing.assert_array_equal(g[:, 0], [0.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    assert grad(lambda t: t[()] + t[None][0])(np.array(1.0, dtype)) == 2.0


def looped(n):
    def f(t):
        total = 0.0
        for i in range(n):
            total = total + (t[4 * i : 4 * i + 4] ** 3).sum()
        return total

    return f


def test_a_loop_over_slices_fills_one_array(monkeypatch):
    n = 200
    x = np.random.default_rng(1).standard_normal((4 * n, 3))
    filled = []
    for name in ("zeros", "array"):  # what fills an array, or copies one
        def counted(*args, original=getattr(np, name), **options):
            made = original(*args, **options)
            filled.append(made.nbytes)
            return made

        monkeypatch.setattr(np, name, counted)
    g = grad(looped(n))(x)
    monkeypatch.undo()
    # The copy of x in its Tensor, the sum, the copy for the caller, and two numbers per slice.
    assert sum(filled) <= 3 * x.nbytes + 16 * n
    np.testing.assert_allclose(g, 3.0 * x ** 2, rtol=4 * np.finfo(float).eps)


def test_the_second_derivative_of_a_loop_over_slices():
    x = np.random.default_rng(2).standard_normal((20, 3))
    np.testing.assert_allclose(grad(lambda t: (grad(looped(5))(t) ** 2).sum())(x), 36.0 * x ** 3, rtol=8 * np.finfo(float).eps)
    for pieces in (lambda t: np.split(t, [3, 8, 5]), lambda t: [t[:7], t[5:], t[np.array([0, 0])]], list):
        analytic, numeric = directional(
            lambda t, p=pieces: grad(lambda u: sum((np.sin(part) * (i + 1.0)).sum() for i, part in enumerate(p(u))))(t), x, np.random.default_rng(3))
        # A central difference at 1e-6 of numbers of about 10 errs by rounding, 10 eps / 1e-6.
        assert abs(analytic - numeric) <= 1e-7
        assert abs(analytic) > 0.1


def test_adding_in_place_writes_into_no_other_array():
    a, b = np.ones(4), np.full(4, 2.0)
    d_sum, d_slice = np.arange(4.0), np.array([10.0, 20.0])
    # The gradient of a + b is one array for both; only that of a has a slice added.
    _, pullback = vjp(lambda t: (t[0] + t[1], t[0][1:3]), (a, b))
    for _ in range(2):
        d_a, d_b = pullback((d_sum, d_slice))
        np.testing.assert_array_equal(d_a, [0.0, 11.0, 22.0, 3.0])
        np.testing.assert_array_equal(d_b, [0.0, 1.0, 2.0, 3.0])
        d_a[:] = d_b[:] = -1.0
    np.testing.assert_array_equal(d_sum, np.arange(4.0))
    np.testing.assert_array_equal(d_slice, [10.0, 20.0])
    x = Tensor(a)
    (x[:2] * 3.0).sum().backward()
    kept = x.grad
    (x[1:] * 5.0).sum().backward()
    np.testing.assert_array_equal(kept, [3.0, 3.0, 0.0, 0.0])
    np.testing.assert_array_equal(x.grad, [3.0, 8.0, 5.0, 5.0])


@pytest.mark.parametrize("cut", [lambda t: np.split(t, 3), lambda t: np.split(t, [4, 1]), lambda t: np.array_split(t, 4), list,
                                 lambda t: np.hsplit(t, 5)])
def test_pieces_that_are_not_used_have_no_gradient(cut):
    used = [0, 2]
    want = np.zeros_like(X)
    numbers = np.arange(X.size).reshape(X.shape)
    for i in used:
        np.add.at(want.reshape(-1), cut(numbers)[i], float(i + 1))
    np.testing.assert_array_equal(grad(lambda t: sum((cut(t)[i] * (i + 1.0)).sum() for i in used))(X), want)


@pytest.mark.parametrize("f", [np.cumprod, np.median, lambda t: np.kron(t, t), lambda t: np.interp(0.5, t[0], t[1]), np.ptp, np.vdot])
def test_a_function_written_with_others_is_one_node_until_the_walk_back(f):
    x = Tensor(X)
    out = f(x, x) if f is np.vdot else f(x)
    assert len([node for node in ancestry([out.node]) if node.pullback is not None]) <= 3
    assert out.node.parents


def test_an_empty_piece_gives_no_gradient():
    for order in (lambda f: f, lambda f: lambda x: grad(f)(x).sum()):
        np.testing.assert_array_equal(grad(order(lambda t: np.split(t, [0, 2])[0].sum() * 2.0))(X), np.zeros_like(X))
        np.testing.assert_array_equal(grad(order(lambda t: t[3:3].sum()))(X), np.zeros_like(X))
