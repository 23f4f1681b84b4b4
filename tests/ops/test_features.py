"""Feature maps: what their products are, one by one and on average, and what the well-known shortcuts break."""

import math

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.definitions import (
    cosformer_features,
    elu_plus_one,
    linear_attention,
    linear_attention_chunked,
    performer_features,
    performer_projection,
    relu_features,
    taylor_features,
)
from tinyattn.engine import grad
from tinyattn.engine.check import directional

CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def drawn(seed, q_len=5, kv_len=7, d=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 3, q_len, d)), rng.standard_normal((2, 3, kv_len, d)), rng.standard_normal((2, 3, kv_len, 2)), rng


def kernel(q, k, product):
    """product(query, key, i, j) of every pair."""
    out = np.zeros((*q.shape[:-1], k.shape[-2]))
    for b, h, i, j in np.ndindex(out.shape):
        out[b, h, i, j] = product(q[b, h, i].tolist(), k[b, h, j].tolist(), i, j)
    return out


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def up(x):
    return [max(a, 0.0) for a in x]


def test_products_are_their_formulas():
    q, k, _, rng = drawn(0)
    projection = rng.standard_normal((6, 4))
    i, j = np.arange(2, 7), np.arange(7)

    def positive(x, y, *_):
        root = 4 ** -0.25
        return sum(math.exp(root * (dot(w, x) + dot(w, y)) - (dot(x, x) + dot(y, y)) / 4) for w in projection.tolist()) / 6

    for got, want in (
            (relu_features(q) @ relu_features(k).mT, lambda x, y, *_: dot(up(x), up(y))),
            (elu_plus_one(q) @ elu_plus_one(k).mT, lambda x, y, *_: sum(
                (a + 1 if a > 0 else math.exp(a)) * (b + 1 if b > 0 else math.exp(b)) for a, b in zip(x, y, strict=True))),
            (taylor_features(q) @ taylor_features(k).mT, lambda x, y, *_: 1 + dot(x, y) / 2 + dot(x, y) ** 2 / 8),
            (cosformer_features(q, i, 9) @ cosformer_features(k, j, 9).mT,
             lambda x, y, m, n: dot(up(x), up(y)) * math.cos(math.pi / 2 * (m + 2 - n) / 9)),
            (performer_features(q, projection=projection) @ performer_features(k, projection=projection).mT, positive)):
        np.testing.assert_allclose(got, kernel(q, k, want), **CLOSE)


def test_gradients():
    q, _, _, rng = drawn(1)
    for features in (relu_features, elu_plus_one, taylor_features, lambda t: cosformer_features(t, np.arange(5), 6)):
        a, b = directional(features, q, rng)
        assert abs(a - b) < 1e-7
    a, b = directional(lambda t: performer_features(t["x"], projection=t["w"]), {"x": q, "w": rng.standard_normal((3, 4))}, rng)
    assert abs(a - b) < 1e-7
    assert grad(lambda x: np.sum(elu_plus_one(x)))(np.array([0.0, -1e4, 1e4])).tolist() == [1.0, 0.0, 1.0]


def test_taylor_is_near_exp_where_scores_are_small_and_never_below_one_half():
    q, k, v, _ = drawn(2)
    s = q @ k.mT / 2
    products = taylor_features(q) @ taylor_features(k).mT
    assert np.all(np.abs(products - np.exp(s)) <= np.exp(np.abs(s)) * np.abs(s) ** 3 / 6 + 1e-15)
    assert products.min() >= 0.5
    errors = [np.abs(linear_attention(x * q, k, v, feature_map=None if x is None else taylor_features) - definitions.attention(x * q, k, v)).max()
              for x in (0.2, 0.1, 0.05)]
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 8.0, rtol=0.2)  # the third power of the scores


def test_cosformer_knows_distances_alone_and_fades_with_them():
    q, k, _, _ = drawn(3)
    at, other = np.arange(7), np.arange(7) + 5
    for x in (q, k):
        near = cosformer_features(x, at[-x.shape[-2] :], 9) @ cosformer_features(k, at, 9).mT
        far = cosformer_features(x, other[-x.shape[-2] :], 9) @ cosformer_features(k, other, 9).mT
        np.testing.assert_allclose(near, far, **CLOSE)
        assert near.min() >= -1e-12  # no two tokens are more than 9 apart
    ones = cosformer_features(np.ones((8, 1)), np.arange(8), 8)
    assert np.all(np.diff((ones @ ones.T)[0]) < 0)
    np.testing.assert_allclose(cosformer_features(q, np.arange(5), 10 ** 15)[..., :4], relu_features(q), **CLOSE)
    nothing = linear_attention(-np.ones((1, 3, 2)), np.ones((1, 3, 2)), np.ones((1, 3, 2)), feature_map=relu_features, causal=True)
    np.testing.assert_array_equal(nothing, 0.0)


def test_cosformer_with_todays_length_is_wrong_tomorrow():
    q, k, v, _ = drawn(4, 7, 7)

    def decoded(length_of):
        state, outs = None, []
        for t in range(7):
            qt, kt = (cosformer_features(x[..., t : t + 1, :], np.array([t]), length_of(t)) for x in (q, k))
            out, state = linear_attention_chunked(qt, kt, v[..., t : t + 1, :], feature_map=None, causal=True, initial_state=state, return_state=True)
            outs.append(out)
        return np.concatenate(outs, axis=-2)

    whole = linear_attention(*(cosformer_features(x, np.arange(7), 7) for x in (q, k)), v, feature_map=None, causal=True)
    np.testing.assert_allclose(decoded(lambda t: 7), whole, rtol=1e-13, atol=1e-14)
    assert np.abs(decoded(lambda t: t + 1) - whole).max() > 0.01


def estimates(features, seeds, q, k):
    """Products of Performer's features under projections of many seeds, (seeds, i, j)."""
    out = []
    for seed in range(seeds):
        projection = performer_projection(np.random.default_rng(seed), features, q.shape[-1])
        out.append(performer_features(q, projection=projection) @ performer_features(k, projection=projection).T)
    return np.stack(out)


def test_performer_is_right_on_average_and_errs_less_with_more_features():
    rng = np.random.default_rng(0)
    q, k = 0.25 * rng.standard_normal((3, 4)), 0.25 * rng.standard_normal((5, 4))
    exact = np.exp(q @ k.T / 2)
    few, many = estimates(4, 400, q, k), estimates(16, 400, q, k)
    for drawn_products in (few, many):
        error = drawn_products.mean(axis=0) - exact
        assert np.all(np.abs(error) < 5 * drawn_products.std(axis=0) / math.sqrt(400))
    # Blocks of 4 directions are independent: four times as many features err half as much.
    ratio = np.sqrt(np.mean((few - exact) ** 2) / np.mean((many - exact) ** 2))
    np.testing.assert_allclose(ratio, 2.0, rtol=0.15)


def test_right_angles_err_less_than_directions_on_their_own():
    rng = np.random.default_rng(1)
    q, k = 0.5 * rng.standard_normal((3, 4)), 0.5 * rng.standard_normal((5, 4))
    exact = np.exp(q @ k.T / 2)
    alone = np.stack([performer_features(q, projection=w) @ performer_features(k, projection=w).T
                      for w in np.random.default_rng(2).standard_normal((500, 4, 4))])
    together = estimates(4, 500, q, k)
    assert np.mean((together - exact) ** 2) < np.mean((alone - exact) ** 2)
    blocks = performer_projection(np.random.default_rng(0), 8, 4)
    for block in (blocks[:4], blocks[4:]):
        products = block @ block.T
        np.testing.assert_allclose(products - np.diag(np.diag(products)), 0.0, atol=1e-12)
    many = np.array([performer_projection(np.random.default_rng(seed), 4, 4) for seed in range(1000)])
    assert np.abs(np.sign(many).mean(axis=0)).max() < 5 / math.sqrt(1000)  # no direction is likelier than its opposite
    lengths = np.sum(many ** 2, axis=-1).reshape(-1)  # of normal vectors: chi squared of 4, whose variance is 8
    assert abs(lengths.mean() - 4) < 5 * math.sqrt(8 / lengths.size)
    np.testing.assert_allclose(lengths.var(), 8, rtol=0.2)


def test_a_largest_key_of_all_lets_the_future_leak():
    q, k, v, rng = drawn(5, 7, 7)
    projection, later = rng.standard_normal((6, 4)), k.copy()
    later[..., 5:, :] *= 0.1

    def stabilised(keys):
        """As widely copied: the largest exponent of all keys taken off, and 1e-4 added to every feature."""
        maps = []
        for x, axes in ((q, -1), (keys, (-1, -2))):
            logs = x @ projection.T * 4 ** -0.25 - np.sum(x * x, axis=-1, keepdims=True) / 4
            maps.append(np.exp(logs - logs.max(axis=axes, keepdims=True)) + 1e-4)
        return linear_attention(*maps, v, feature_map=None, causal=True)[..., :5, :]

    def ours(keys):
        return linear_attention(q, keys, v, feature_map=lambda x: performer_features(x, projection=projection), causal=True)[..., :5, :]

    assert np.any(stabilised(k) != stabilised(later))
    np.testing.assert_array_equal(ours(k), ours(later))


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda x: cosformer_features(x, np.arange(3), 0), ValueError, "max_length: expected 1 or more, got 0"),
    (lambda x: cosformer_features(x, np.arange(3), 2.5), TypeError, "max_length: .*float"),
    (lambda x: cosformer_features(x, np.arange(4), 9), ValueError, r"positions: .*\(2, 3\), got shape \(4,\)"),
    (lambda x: cosformer_features(x, np.arange(3.0), 9), TypeError, "positions: .*float64"),
    (lambda x: cosformer_features(x, [0, 1, 2], 9), TypeError, "positions: .*list"),
    (lambda x: performer_features(x, projection=np.ones((5, 3))), ValueError, r"projection: expected shape \(features, 4\), got shape \(5, 3\)"),
    (lambda x: performer_features(x, projection=np.ones((0, 4))), ValueError, "projection"),
    (lambda x: performer_features(x, projection=[[1.0]]), TypeError, "projection: .*list"),
    (lambda x: performer_projection(np.random.default_rng(0), 0, 4), ValueError, "features: expected 1 or more, got 0"),
    (lambda x: performer_projection(np.random.default_rng(0), 4, 1.5), TypeError, "head_dim: .*float"),
])
def test_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call(np.ones((2, 3, 4)))
