"""The causal convolution: its formula as loops, its state over any cut, and its gradient."""

import numpy as np
import pytest

from tinyattn import definitions, grad
from tinyattn.ops import causal_convolution

RNG = np.random.default_rng(0)


def loops(x, weight, bias, state):
    channels, length = x.shape
    width = weight.shape[1]
    out = np.zeros_like(x)
    for c in range(channels):
        for t in range(length):
            out[c, t] = bias[c]
            for s in range(width):
                at = t - width + 1 + s
                out[c, t] += weight[c, s] * (x[c, at] if at >= 0 else state[c, width - 1 + at])
    return out


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("length", [0, 1, 3, 4, 9])
def test_it_is_its_formula_and_any_cut_gives_the_same(width, length):
    x, weight, bias, state = (RNG.standard_normal(shape) for shape in ((2, 4, length), (4, width), (4,), (2, 4, width - 1)))
    out, after = causal_convolution(x, weight, bias=bias, initial_state=state, return_state=True)
    for row in range(2):
        np.testing.assert_allclose(out[row], loops(x[row], weight, bias, state[row]), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(after, np.concatenate((state, x), axis=-1)[..., length:])
    for cut in range(length + 1):
        first, middle = causal_convolution(x[..., :cut], weight, bias=bias, initial_state=state, return_state=True)
        second, last = causal_convolution(x[..., cut:], weight, bias=bias, initial_state=middle, return_state=True)
        np.testing.assert_array_equal(np.concatenate((first, second), axis=-1), out)
        np.testing.assert_array_equal(last, after)
    zero = causal_convolution(x, weight)
    np.testing.assert_array_equal(zero, causal_convolution(x, weight, bias=np.zeros(4), initial_state=np.zeros((2, 4, width - 1))))


def test_gradients_reach_everything():
    tree = {"x": RNG.standard_normal((2, 3, 5)), "weight": RNG.standard_normal((3, 3)), "bias": RNG.standard_normal(3), "initial_state": RNG.standard_normal((2, 3, 2))}
    def loss(tree):
        return np.sum(causal_convolution(tree["x"], tree["weight"], bias=tree["bias"], initial_state=tree["initial_state"]) ** 3)
    found, step = grad(loss)(tree), 1e-6
    for name, value in tree.items():
        along = RNG.standard_normal(value.shape)
        there, back = ({**tree, name: value + sign * step * along} for sign in (1, -1))
        assert abs((loss(there) - loss(back)) / (2 * step) - np.sum(found[name] * along)) < 1e-7 * np.abs(found[name]).sum()


@pytest.mark.parametrize(("change", "words"), [
    ({"weight": np.ones((4, 3))}, "weight: expected shape .channels, width. with 3 channels"), ({"weight": np.ones((3, 0))}, "weight"),
    ({"bias": np.ones(2)}, "bias"), ({"initial_state": np.ones((3, 1))}, "initial_state"),
])
def test_shapes_that_do_not_fit_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        causal_convolution(**{"x": np.ones((3, 5)), "weight": np.ones((3, 3)), **change})


@pytest.mark.parametrize("convolve", [causal_convolution, definitions.causal_convolution])
def test_weights_are_taken_in_the_dtype_of_x_and_a_state_must_have_it(convolve):
    x, weight, bias = RNG.standard_normal((3, 5)).astype(np.float32), RNG.standard_normal((3, 2)), RNG.standard_normal(3)
    out, state = convolve(x, weight, bias=bias, return_state=True)
    assert (out.dtype, state.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(out, convolve(x, weight.astype(np.float32), bias=bias.astype(np.float32)))
    wide = convolve(x.astype(np.float64), weight.astype(np.float32))
    assert wide.dtype == np.float64
    with pytest.raises(TypeError, match="initial_state: expected dtype float32 as x, got float64"):
        convolve(x, weight, initial_state=np.zeros((3, 1)))
    slopes = grad(lambda w: convolve(x, w).sum())(weight)
    np.testing.assert_allclose(slopes, np.stack((x[:, :-1].sum(axis=1), x.sum(axis=1)), axis=1), rtol=1e-6)
    assert slopes.dtype == np.float64


@pytest.mark.parametrize("form", [causal_convolution, definitions.causal_convolution], ids=["at once", "by tokens"])
@pytest.mark.parametrize("token", [np.inf, np.nan])
def test_a_token_that_is_not_finite_reaches_its_window_and_warns_of_nothing(form, token):
    x, weight = np.ones((1, 6)), np.array([[1.0, -1.0]])
    x[0, 2:4] = token
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(np.isfinite(form(x, weight)), [[True, True, False, False, False, True]])
