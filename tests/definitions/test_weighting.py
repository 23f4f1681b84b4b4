"""Weights that are no plain softmax, at their ends: large and small alphas, ties, infinite scores and biases, gates of 0."""

import numpy as np
import pytest

from tinyattn import definitions, grad
from tinyattn.ops.entmax import entmax

RNG = np.random.default_rng(0)
ALPHAS = [1.0, 1.0 + 1e-9, 1.001, 1.2, 1.5, 1.7, 2.0, 3.0, 50.0, 1000.0]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_weights_sum_to_one_for_every_alpha(alpha):
    for scores in (RNG.standard_normal((6, 30)) * 3, np.zeros((2, 1000)), np.array([[1e300, 0.0, -1e300]]), np.array([[5.0]])):
        with np.errstate(over="ignore"):
            weights = entmax(scores, alpha)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-13)
        np.testing.assert_array_equal(weights.argmax(axis=-1), scores.argmax(axis=-1))


@pytest.mark.parametrize("alpha", ALPHAS[:8])
def test_a_row_without_keys_is_zero_and_one_with_nan_is_nan(alpha):
    scores = np.array([[-np.inf, -np.inf, -np.inf], [0.0, -np.inf, 0.0], [0.0, np.nan, -np.inf]])
    with np.errstate(invalid="ignore"):
        weights = entmax(scores, alpha)
    np.testing.assert_allclose(weights[:2], [[0.0, 0.0, 0.0], [0.5, 0.0, 0.5]], rtol=1e-15)
    assert np.isnan(weights[2, :2]).all()


def test_alpha_just_above_one_is_near_to_softmax_by_its_distance():
    scores = RNG.standard_normal((50, 20)) * 2
    errors = [float(np.abs(entmax(scores, alpha) - entmax(scores, 1.0)).max()) for alpha in (1.001, 1.0 + 1e-6, 1.0 + 1e-9)]
    np.testing.assert_allclose(np.array(errors) / [1e-3, 1e-6, 1e-9], errors[0] / 1e-3, rtol=0.01)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.7, 2.0])
def test_second_derivatives_are_differences_of_first_ones(alpha):
    scores, direction = RNG.standard_normal((2, 4, 9))
    slope = lambda s: np.sin(grad(lambda z: (entmax(z, alpha) ** 2 * np.arange(9)).sum())(s)).sum()
    want = (slope(scores + 1e-5 * direction) - slope(scores - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose((grad(slope)(scores) * direction).sum(), want, rtol=1e-7, atol=1e-9)


def test_an_infinite_bias_gives_a_sigmoid_of_one_and_leaves_the_others():
    bias = np.array([[0.0, np.inf, -np.inf]])
    out = definitions.sigmoid_attention(np.zeros((1, 1)), np.zeros((3, 1)), np.eye(3), bias=bias)
    np.testing.assert_allclose(out, [[0.25, 1.0, 0.0]], rtol=1e-15)


def test_small_sigmoids_keep_their_digits():
    out = definitions.sigmoid_attention(np.ones((1, 1)), np.array([[-100.0]]), np.ones((1, 1)))
    np.testing.assert_allclose(out, np.exp(-100.0), rtol=1e-13)


def test_a_stick_of_many_shares_is_not_zero_too_early():
    x = np.full((2000, 1), -6.0)
    weights, rest = definitions.stick_breaking_attention_with_rest(np.ones((1, 1)), x, np.eye(2000), current=True)
    share = 1 / (1 + np.exp(6.0))
    np.testing.assert_allclose(weights[0, ::-1], share * (1 - share) ** np.arange(2000), rtol=1e-12)
    np.testing.assert_allclose(rest, (1 - share) ** 2000, rtol=1e-12)


def test_a_token_with_a_closed_gate_reads_itself_whatever_stands_before():
    x, gates = np.zeros((3, 1)), np.array([0.0, -np.inf, 0.0])
    v = np.array([[np.nan], [2.0], [4.0]])
    out = definitions.forgetting_attention(x[1:], x, v, log_forget=gates)
    np.testing.assert_array_equal(out, [[2.0], [3.0]])
