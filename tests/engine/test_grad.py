"""grad, value_and_grad and vjp: on trees, nested in each other, and with functions and arguments that they refuse."""

import collections
import functools
import types
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.engine import Tensor, grad, no_grad, primitive, value_and_grad, vjp

Pair = namedtuple("Pair", "a b")


@dataclass(frozen=True, eq=False)
class Layer:
    w: Any
    name: str = "layer"
    made: list = field(default_factory=list)

    def __post_init__(self):
        self.made.append("init")


def test_trees_come_back_as_they_went():
    tree = {"w": np.ones(2), "list": [np.ones(1), None, 3, "s", 2.5], "pair": Pair(np.ones(()), np.arange(2)),
            "layer": Layer(np.full(2, 3.0)), "f": len, "flag": True}
    loss = lambda t: (t["w"].sum() + (t["list"][0] * 2.0).sum() + t["pair"].a * 5.0 + (t["layer"].w ** 2).sum())
    value, g = value_and_grad(loss)(tree)
    assert value == 2.0 + 2.0 + 5.0 + 18.0
    np.testing.assert_array_equal(g["w"], [1.0, 1.0])
    np.testing.assert_array_equal(g["list"][0], [2.0])
    assert g["list"][1:] == [None, 3, "s", 2.5]
    assert isinstance(g["pair"], Pair)
    assert g["pair"].a == 5.0
    assert g["pair"].b is tree["pair"].b
    assert isinstance(g["layer"], Layer)
    np.testing.assert_array_equal(g["layer"].w, [6.0, 6.0])
    assert g["layer"].made == ["init"]
    assert g["f"] is len
    assert g["flag"] is True


def test_a_bare_float_is_differentiated():
    assert grad(lambda x: x * x)(3.0) == 6.0
    assert grad(grad(lambda x: x ** 3))(2.0) == 12.0
    assert grad(grad(grad(lambda x: x ** 3)))(2.0) == 6.0


def test_an_array_that_stands_twice_is_two_leaves():
    x = np.ones(2)
    a, b = grad(lambda t: (t[0] * 2.0 + t[1] * 3.0).sum())((x, x))
    assert (a[0], b[0]) == (2.0, 3.0)


def test_an_unused_input_has_zeros():
    g = grad(lambda t: t["a"].sum())({"a": np.ones(2), "b": np.ones(3, np.float32)})
    np.testing.assert_array_equal(g["b"], np.zeros(3))
    assert g["b"].dtype == np.float32
    np.testing.assert_array_equal(grad(lambda x: 1.0)(np.ones(2)), [0.0, 0.0])


def test_rest_and_options_are_passed_and_aux_comes_out_plain():
    f = lambda x, y, *, z: ((x * y * z).sum(), {"x": x * 2.0, "n": 3})
    (value, aux), g = value_and_grad(f, has_aux=True)(np.ones(2), 3.0, z=2.0)
    assert value == 12.0
    assert aux["n"] == 3
    assert type(aux["x"]) is np.ndarray
    np.testing.assert_array_equal(g, [6.0, 6.0])


def test_a_result_that_is_no_scalar_is_refused_by_name():
    with pytest.raises(ValueError, match=r"scalar.*\(2,\).*vjp"):
        grad(lambda x: x)(np.ones(2))
    for x in (np.arange(3), 3, [1, 2], None, {}):
        with pytest.raises(TypeError, match="x: expected a tree with at least one floating array"):
            grad(lambda x: 1.0)(x)


def test_the_pullback_can_be_called_again():
    out, pullback = vjp(lambda x: np.exp(x), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(pullback(np.array([1.0, 0.0])), [1.0, 0.0])
    np.testing.assert_array_equal(pullback(np.array([0.0, 1.0])), [0.0, out[1]])
    with pytest.raises(ValueError, match="d_out"):
        pullback(np.ones(3))
    (a, b), pullback = vjp(lambda x: (x * 2.0, x.sum()), np.ones(2))
    np.testing.assert_array_equal(pullback((np.ones(2), np.array(10.0))), [12.0, 12.0])


def test_inside_an_outer_gradient_the_results_are_tensors():
    seen = []

    def outer(x):
        inner = grad(lambda y: (y ** 3).sum())(x)
        seen.append(inner)
        return inner.sum()

    np.testing.assert_array_equal(grad(outer)(np.array([2.0])), [12.0])
    assert isinstance(seen[0], Tensor)


def test_an_outer_tensor_that_f_closes_over_keeps_its_gradient():
    w = Tensor(np.array([2.0, 3.0]))
    inner = grad(lambda x: (w * w * x).sum())(np.ones(2))
    assert isinstance(inner, Tensor)
    inner.sum().backward()
    np.testing.assert_array_equal(w.grad, [4.0, 6.0])


def test_a_tensor_made_inside_f_is_no_outer_one():
    g = grad(lambda x: (x * Tensor(np.full(2, 3.0))).sum())(np.ones(2))
    assert type(g) is np.ndarray


def test_levels_are_not_confused():
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y * y)(2.0))(3.0) == 24.0


def test_a_gradient_is_taken_within_no_grad_too():
    with no_grad():
        assert grad(lambda x: x * x)(3.0) == 6.0


def test_gradients_own_their_memory():
    g, h = grad(lambda t: (t[0] + t[1]).sum())((np.ones(2), np.ones(2)))
    g[0] = 9.0
    assert h[0] == 1.0


@pytest.mark.parametrize(("result", "said"), [(None, "got None"), ([1.0], "got a list"), ((1.0, 2), "got a tuple"), ({"loss": 1.0}, "got a dict"),
                                              (True, "got True"), ("x", "got a str"), (len, "got a builtin")])
def test_what_is_no_scalar_is_named(result, said):
    for differentiate in (grad, value_and_grad):
        with pytest.raises(ValueError, match=f"f must return a scalar to have a gradient, {said}"):
            differentiate(lambda x: result)(np.ones(2))


def test_an_auxiliary_result_needs_a_pair():
    for result in (None, 1.0, [1.0, 2.0], (1.0,), (1.0, 2.0, 3.0)):
        with pytest.raises(ValueError, match=r"f must return a pair \(loss, aux\)"):
            value_and_grad(lambda x: result, has_aux=True)(np.ones(2))
    with pytest.raises(ValueError, match="f must return at least one floating array, got None"):
        vjp(lambda x: None, np.ones(2))
    _, pullback = vjp(lambda x: {"a": x, "b": (x, x)}, np.ones(2))
    for d_out in ({"a": np.ones(2)}, {"a": np.ones(2), "b": (np.ones(2),)}, 1.0, None, [np.ones(2)]):
        with pytest.raises(ValueError, match="d_out: expected a tree like"):
            pullback(d_out)


class Box:
    def __init__(self, inside):
        self.inside = inside


class Slots:
    __slots__ = ("inside",)

    def __init__(self, inside):
        self.inside = inside


W = np.array([1.0, 2.0])


@pytest.mark.parametrize("box", [
    types.SimpleNamespace(a=W), collections.deque([W]), types.MappingProxyType({"a": W}), Box(W), Slots(W), Box([{"w": W}]), Box(Box(W)),
    collections.UserDict(a=W), np.array([W, None], object), Box(Tensor(W)), Box(np.float32(1.0))], ids=lambda box: type(box).__name__)
def test_an_object_that_hides_floating_arrays_is_refused_by_type(box):
    for tree in ({"x": W, "o": [box]}, [W, box]):
        with pytest.raises(TypeError, match=rf"x\.\S+: a {type(box).__name__} holds floating arrays and is not a tree"):
            grad(lambda t: 1.0)(tree)
        with pytest.raises(TypeError, match="is not a tree"):
            vjp(lambda t: 1.0, tree)


@pytest.mark.parametrize("static", [None, 3, 2.5, True, "s", b"s", len, np.sin, lambda x: x, functools.partial(len, W), np.arange(3), Box(3), Box(np.arange(2)),
                                    int, range(3), frozenset({1}), np.dtype(float), np.int64(3), np.random.default_rng(0), Box(len), types])
def test_everything_else_stands_unchanged(static):
    g = grad(lambda t: t[0].sum())([W, static])
    assert g[1] is static
    np.testing.assert_array_equal(g[0], [1.0, 1.0])


def test_an_object_that_holds_itself_is_no_endless_search():
    ring = Box(None)
    ring.inside = [ring]
    assert grad(lambda t: t[0].sum())([W, ring])[1] is ring


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_numpy_scalar_is_a_leaf(kind):
    g = grad(lambda t: t["x"] ** 2 + (t["y"] ** 2).sum())({"x": kind(3), "y": W, "unused": kind(1)})
    assert (type(g["x"]), g["x"], type(g["unused"]), g["unused"]) == (kind, 6.0, kind, 0.0)


@pytest.mark.parametrize("made", [grad, value_and_grad, lambda f: vjp(f, 1.0), primitive])
def test_what_is_not_a_function_is_refused_at_once(made):
    with pytest.raises(TypeError, match="f: expected a function, got int"):
        made(3)


@pytest.mark.parametrize("settings", ["warn", "raise"])
def test_gradients_that_are_infinite_or_nan_show_in_the_result_alone(settings):
    k, strong = np.ones((1, 3, 2)), np.full((1, 3), 1e308)
    with np.errstate(all=settings):
        slope = grad(lambda t: definitions.delta_rule(t, k, 1e300 * k, beta=strong).sum())(k)
        assert not np.isfinite(slope).all()
        assert grad(lambda t: np.sum(t * 1e200) * 1e200)(np.zeros(1)) == np.inf
