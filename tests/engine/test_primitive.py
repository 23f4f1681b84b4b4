"""@primitive: a function with a backward of its own, as a kernel has."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from tinyattn.engine import Tensor, grad, no_grad, primitive, vjp


class Options(NamedTuple):
    """Options as a kernel takes them: containers of constants."""

    first: Any
    second: Any


@primitive
def scaled(x, *, by, shift=None):
    """Returns x * by + shift, and x + by beside it."""
    return (x * by + (0.0 if shift is None else shift), x + by), (x, by)


@scaled.backward
def _(d_out, saved):
    x, by = saved
    return {"x": d_out[0] * by + d_out[1], "by": (d_out[0] * x + d_out[1]).sum(), "shift": None}


def test_arguments_by_keyword_and_several_outputs():
    x, by = np.array([1.0, 2.0]), np.array(3.0)

    def f(t):
        a, b = scaled(t["x"], by=t["by"])
        return (a * 2.0 + b).sum()

    g = grad(f)({"x": x, "by": by})
    np.testing.assert_array_equal(g["x"], [7.0, 7.0])
    assert g["by"] == 2.0 * 3.0 + 2.0


def test_one_output_used_leaves_the_other_zero():
    np.testing.assert_array_equal(grad(lambda x: scaled(x, by=3.0)[1].sum())(np.ones(2)), [1.0, 1.0])


def test_plain_arrays_and_no_grad_give_the_result_alone():
    a, _ = scaled(np.ones(2), by=2.0)
    assert type(a) is np.ndarray
    with no_grad():
        b, _ = scaled(Tensor(np.ones(2)), by=2.0)
    assert b.node is None
    assert scaled.__doc__.startswith("Returns x * by")


def test_a_second_derivative_is_refused_and_says_how_to_have_one():
    with pytest.raises(TypeError, match=r"scaled has a first derivative only.*scaled\.again\(function\)"):
        grad(lambda x: grad(lambda y: scaled(y, by=2.0)[0].sum())(x).sum())(np.ones(2))


def product(x, *, by, shift=None):
    """Returns what `scaled` returns, by functions that have rules."""
    return x * by + (0.0 if shift is None else shift), x + by


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("output", [0, 1])
def test_a_function_is_walked_where_the_backward_is_differentiated(order, output):
    def derived(f):
        def cubed(t):
            return (f(t["x"] ** 2, by=t["by"] * t["x"].sum(), shift=1.0)[output] ** 3).sum()

        for _ in range(order):
            def cubed(t, f=cubed):
                return sum((g * w).sum() for g, w in zip(grad(f)(t).values(), (0.3, 0.7), strict=True))

        return grad(cubed)({"x": np.array([1.0, 2.0]), "by": np.array(3.0)})

    got, want = derived(scaled.again(product)), derived(product)
    for name, slope in want.items():
        np.testing.assert_allclose(got[name], slope, rtol=1e-13)


def test_the_function_is_not_called_for_a_first_derivative():
    def called(x, *, by, shift=None):
        raise AssertionError("called")

    once = scaled.again(called)
    np.testing.assert_array_equal(grad(lambda x: once(x, by=2.0)[0].sum())(np.ones(2)), [2.0, 2.0])
    with pytest.raises(AssertionError, match="called"):
        grad(lambda x: grad(lambda y: once(y, by=2.0)[0].sum())(x).sum())(np.ones(2))
    with pytest.raises(TypeError, match="first derivative only"):  # the primitive itself is as it was
        grad(lambda x: grad(lambda y: scaled(y, by=2.0)[0].sum())(x).sum())(np.ones(2))


def test_a_missing_or_mistaken_backward_is_named():
    @primitive
    def lonely(x):
        return x * 2.0, None

    with pytest.raises(TypeError, match=r"lonely has no backward"):
        grad(lambda x: lonely(x).sum())(np.ones(2))

    @lonely.backward
    def _(d_out, saved):
        return {"y": d_out}

    with pytest.raises(TypeError, match=r"lonely names unknown arguments: \['y'\]"):
        grad(lambda x: lonely(x).sum())(np.ones(2))


def test_what_it_saves_is_not_the_callers():
    factor = np.array([2.0, 3.0])
    out, pullback = vjp(lambda x: scaled(x, by=factor)[0], np.ones(2))
    factor[:] = 100.0
    np.testing.assert_array_equal(out, [2.0, 3.0])
    np.testing.assert_array_equal(pullback(np.ones(2)), [2.0, 3.0])


@pytest.mark.parametrize("inside", [lambda a: [a], lambda a: (a, 1), lambda a: {"a": a}, lambda a: Options(a, None), lambda a: [Options(None, {"a": (a,)})]])
def test_what_stands_in_a_container_is_not_the_callers(inside):
    def first(container):
        while not isinstance(container, np.ndarray):
            items = container.values() if isinstance(container, dict) else container
            container = next(item for item in items if item is not None)
        return container

    @primitive
    def times(x, options):
        return x * first(options), options

    @times.backward
    def _(d_out, saved):
        return {"x": d_out * first(saved)}

    factor = np.array([2.0, 3.0])
    _, pullback = vjp(lambda x: times.again(lambda x, options: x * first(options))(x, inside(factor)), np.ones(2))
    factor[:] = 100.0
    np.testing.assert_array_equal(pullback(np.ones(2)), [2.0, 3.0])


def doubled(change):
    @primitive
    def double(x):
        return 2 * x, None

    @double.backward
    def _(d_out, saved):
        return {"x": change(2 * d_out)}

    return double


@pytest.mark.parametrize("change", [
    lambda g: g.T, lambda g: g.reshape(-1), lambda g: g[None], lambda g: np.stack([g] * 5), lambda g: g[0],
    lambda g: g.sum(), lambda g: 1.0, lambda g: g[:, :1], lambda g: g[:0]])
def test_a_gradient_of_another_shape_is_refused_and_not_reshaped(change):
    with pytest.raises(ValueError, match=r"backward of double: the gradient of x .*shape \(2, 3\), got \("):
        grad(lambda x: doubled(change)(x).sum())(np.ones((2, 3)))


@pytest.mark.parametrize(("change", "came"), [
    (lambda g: g.astype(int), "int64"), (lambda g: g + 1j, "complex128"), (lambda g: g.tolist(), "list"),
    (lambda g: g > 0, "bool"), (lambda g: g.astype(object), "object"), (lambda g: 1, "int"), (lambda g: "g", "str")])
def test_a_gradient_that_is_no_floating_array_is_refused(change, came):
    with pytest.raises(TypeError, match=f"backward of double: the gradient of x must be a floating array, got {came}"):
        grad(lambda x: doubled(change)(x).sum())(np.ones((2, 3)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_gradient_is_cast_to_the_dtype_of_its_argument(dtype):
    for change in (lambda g: g.astype(np.float64), lambda g: g.astype(np.float16)):
        g = grad(lambda x: doubled(change)(x).sum())(np.ones((2, 3), dtype))
        assert g.dtype == dtype
        np.testing.assert_array_equal(g, np.full((2, 3), 2.0))


@pytest.mark.parametrize(("forward", "words"), [
    (lambda x: x * 2.0, r"<lambda> must return a pair \(out, saved\), got ndarray"),  # two rows, which would unpack in silence
    (lambda x: (x, x, x), "got a tuple of 3"), (lambda x: None, "got NoneType"), (lambda x: [x, x], "got list")])
@pytest.mark.parametrize("wrap", [Tensor, np.array])
def test_a_function_that_returns_no_pair_is_refused(forward, words, wrap):
    with pytest.raises(TypeError, match=words):
        primitive(forward)(wrap(np.ones((2, 3))))


@pytest.mark.parametrize(("out", "words"), [(lambda x: np.ones(2, int), "int64"), (lambda x: x * 1j, "complex128"), (lambda x: None, "object"),
                                            (lambda x: (x, x > 0.0), "bool")])
def test_a_result_that_is_no_floating_array_is_refused(out, words):
    f = primitive(lambda x: (out(x), None))
    f.backward(lambda d_out, saved: {"x": d_out})
    with pytest.raises(TypeError, match=f"<lambda>: the result must be a floating array, got {words}"):
        f(Tensor(np.ones(2)))


@pytest.mark.parametrize("gradients", [np.ones(2), (np.ones(2),), None])
def test_a_backward_that_returns_no_dict_is_refused(gradients):
    f = primitive(lambda x: (x * 2.0, None))
    f.backward(lambda d_out, saved: gradients)
    with pytest.raises(TypeError, match=f"the backward of <lambda> must return a dict of gradients by argument, got {type(gradients).__name__}"):
        grad(lambda x: f(x).sum())(np.ones(2))


def test_gradients_that_are_given_away_are_handed_out_as_they_are_and_others_are_copied():
    made = []

    def twice(x):
        return x * 2.0, None

    def backward(d_out, saved):
        made.append(d_out * 2.0)
        return {"x": made[-1]}

    giving, keeping = primitive(twice), primitive(twice)
    giving.backward_giving(backward)
    keeping.backward(backward)
    d_out = np.ones(3)
    for f, shared in ((giving, True), (keeping, False)):
        _, pullback = vjp(f, np.ones(3))
        first, second = pullback(d_out), pullback(d_out)
        assert np.shares_memory(first, made[-2]) == shared and not np.shares_memory(first, second)
        # What passes through another function is copied: reshape hands on what it gets.
        _, pullback = vjp(lambda t: f(t["a"] + t["b"]) + f(t["a"].reshape(3)), {"a": np.ones(3), "b": np.ones(3)})
        found = pullback(d_out)
        np.testing.assert_array_equal(found["a"], np.full(3, 4.0))
        np.testing.assert_array_equal(found["b"], np.full(3, 2.0))
        assert not np.shares_memory(found["a"], found["b"])
        x = Tensor(np.ones(3))
        f(x).backward(d_out)
        assert np.shares_memory(x.grad, made[-1]) == shared
        f(x).backward(d_out)
        np.testing.assert_array_equal(x.grad, np.full(3, 4.0))
    np.testing.assert_array_equal(d_out, np.ones(3))


def test_a_gradient_that_is_given_away_takes_in_one_that_others_hold():
    made = []

    def backward(d_out, saved):
        made.append(d_out * 2.0)
        return {"x": made[-1]}

    giving = primitive(lambda x: (x * 2.0, None))
    giving.backward_giving(backward)
    d_out = np.ones(3)
    for f in (lambda x: x + giving(x), lambda x: giving(x) + x):
        found = vjp(f, np.ones(3))[1](d_out)
        np.testing.assert_array_equal(found, np.full(3, 3.0))
        np.testing.assert_array_equal(d_out, np.ones(3))
        assert np.shares_memory(found, made[-1])
