"""Arrays and results that are almost right: subclasses, ragged lists, Tensors as indices, patterns of another shape, the ends of a dtype."""

import numpy as np
import pytest

import tinyattn
from tinyattn import Tensor, grad, ops
from tinyattn.ops import masks

Q = np.random.default_rng(0).standard_normal((2, 4, 8))


class Named(np.ndarray):
    """A subclass of NumPy's array."""


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_positions_in_a_matrix_are_two_axes_and_no_crash():
    with pytest.raises(ValueError, match=r"positions: .*\(2, 4\), got shape \(1, 3\)"):
        ops.rotary(Q, np.matrix(np.arange(3)))
    np.testing.assert_array_equal(ops.rotary(Q, np.matrix(np.arange(4))), ops.rotary(Q, np.arange(4)))
    np.testing.assert_array_equal(ops.cosformer_features(Q, np.matrix(np.arange(4)), 9), ops.cosformer_features(Q, np.arange(4), 9))


def test_subclasses_are_read_as_plain_arrays():
    at = np.arange(4).view(Named)
    for out, want in ((ops.rotary(Q.view(Named), at), ops.rotary(Q, np.arange(4))), (ops.softmax(Q.view(Named)), ops.softmax(Q)),
                      (masks.causal().visible(at, at), masks.causal().dense(4, 4))):
        assert type(out) is np.ndarray
        np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda given: ops.cross_entropy(np.zeros((2, 3)), given), TypeError, "targets: expected integers"),
    (lambda given: ops.sinusoidal(given, 8), TypeError, "positions: expected integers"),
    (lambda given: ops.t5_buckets(given, causal=True), TypeError, "distance: expected integers"),
    (lambda given: masks.documents(given), TypeError, "ids: expected integers"),
    (lambda given: masks.padding(given), TypeError, "lengths: expected integers"),
])
@pytest.mark.parametrize(("given", "came"), [(Tensor(np.zeros(2)), "got Tensor"), ([[0], [1, 2]], "got a list whose items have different lengths")])
def test_indices_that_are_no_array_are_refused_by_name(call, error, words, given, came):
    with pytest.raises(error, match=f"{words}, {came}"):
        call(given)


@pytest.mark.parametrize("length", [4, 80])
def test_a_pattern_whose_result_has_another_shape_is_named(length):
    q = np.ones((2, length, 8))
    for shape in ((7, 7), (1, 7), (2, 7, 1)):
        pattern = masks.Pattern(lambda i, j, shape=shape: np.ones(shape, bool), text="mine")
        with pytest.raises(ValueError, match=r"mine: expected a result that broadcasts to .*, one for each pair of positions"):
            tinyattn.attention(q, q, q, mask=pattern)
    for shape in ((), (length,), (length, 1), (1, 1)):
        whole = masks.Pattern(lambda i, j, shape=shape: np.broadcast_to((i >= 0).all(), shape))
        np.testing.assert_array_equal(whole.dense(length, length), np.ones((length, length), bool))


def test_a_pattern_has_no_truth_value():
    with pytest.raises(TypeError, match=r"causal\(\): a Pattern is neither true nor false; & and \| combine"):
        masks.causal() and masks.window(3, 0)  # without the error this would be the window alone


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_numbers_give_no_warning(dtype):
    most = np.finfo(dtype).max
    ends = np.array([most, -most, 0.0], dtype)
    np.testing.assert_array_equal(ops.softmax(ends), [1, 0, 0])
    assert ops.logsumexp(ends) == most
    np.testing.assert_array_equal(ops.log_softmax(ends), np.array([0, -np.inf, -most], dtype))
    np.testing.assert_array_equal(ops.gelu(ends), ends * [1, 0, 1])
    np.testing.assert_array_equal(grad(lambda x: np.sum(ops.gelu(x)))(ends), [1, 0, 0.5])


def test_gelu_is_its_formula_up_to_the_place_where_it_is_cut():
    x = np.linspace(-12.0, 12.0, 4001)
    formula = x * 0.5 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(ops.gelu(x), formula, rtol=1e-14, atol=1e-15)
    near = x[np.abs(x) < 11]
    slope, step = grad(lambda t: np.sum(ops.gelu(t)))(near), 1e-6
    np.testing.assert_allclose(slope, (ops.gelu(near + step) - ops.gelu(near - step)) / (2 * step), atol=1e-8)
