"""Layers of trained models: each against its formula written out, through a cache, and with gradients."""

import numpy as np
import pytest

from tinyattn import definitions, grad
from tinyattn.caches import GrowingCache
from tinyattn.layers import LayerNorm, RMSNorm
from tinyattn.layers.affine import Affine
from tinyattn.layers.mixed import FeedForward, ResidualBlock, same
from tinyattn.layers.trained_attention import TrainedAttention
from tinyattn.ops import exact_gelu, layer_norm, linear_frequencies, rms_norm, rotary, silu
from tinyattn.ops.files.stored import Stored

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 6))


def normal(*shape):
    return RNG.standard_normal(shape)


def stored(array, code="F64", dtype="<f8"):
    return Stored("a file: w", code, array.shape, array.astype(dtype).reshape(-1).view(np.uint8))


def test_norms_use_their_epsilon():
    weight, bias = normal(6), normal(6)
    small = X * 1e-3
    np.testing.assert_array_equal(RMSNorm(weight, 1e-5)(small), rms_norm(small, weight, epsilon=1e-5))
    assert np.abs(RMSNorm(weight, 1e-5)(small) - RMSNorm(weight)(small)).max() > 0.1
    mean, variance = small.mean(-1, keepdims=True), small.var(-1, keepdims=True)
    np.testing.assert_allclose(LayerNorm(weight, bias, 1e-3)(small), (small - mean) / np.sqrt(variance + 1e-3) * weight + bias, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(LayerNorm(None)(small), layer_norm(small))
    np.testing.assert_array_equal(LayerNorm.create(6)(small), layer_norm(small))
    for make in (lambda: RMSNorm(weight, -1.0), lambda: LayerNorm(weight, None, -1.0)):
        with pytest.raises(ValueError, match="epsilon"):
            make()


@pytest.mark.parametrize("rows", [1, 3, 600])
@pytest.mark.parametrize("outputs", [4, 700])
def test_a_matrix_in_its_file_gives_the_same_product(rows, outputs):
    w, bias, x = normal(outputs, 6), normal(outputs), normal(rows, 6)
    np.testing.assert_allclose(Affine(stored(w), bias)(x), x @ w.T + bias, rtol=0, atol=1e-13)
    half = Affine(stored(w, "F16", "<f2"))(x.astype(np.float32))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, x @ w.T.astype(np.float16).astype(float), rtol=0, atol=2e-5)


def test_gradients_flow_through_a_matrix_in_its_file():
    w, target = normal(700, 6), normal(2, 5, 700)
    through = [grad(lambda x, w=matrix: np.sum(Affine(w)(x) * target))(X) for matrix in (w, stored(w))]
    np.testing.assert_allclose(through[1], through[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: Affine(normal(6)), ValueError, "weight: expected shape .outputs, inputs., got .6,."),
    (lambda: Affine(normal(4, 6), normal(6)), ValueError, "bias: .*for a weight .4, 6."),
    (lambda: Affine(stored(normal(4, 5)))(X), ValueError, "x: expected a last axis of 5 for a weight .4, 5."),
    (lambda: Affine([1.0]), TypeError, "weight"), (lambda: FeedForward(None, same, silu), TypeError, "up: expected a layer"),
    (lambda: ResidualBlock(same, same, same, same, same, same, "before"), ValueError, "order: expected one of serial, parallel, after, got 'before'"),
    (lambda: layer(kv_heads=3), ValueError, "heads: expected a multiple of the 3 kv_heads, got 4"),
    (lambda: layer(kv_heads=4, v=Affine(normal(6, 6))), ValueError, "v: expected a multiple of 4 heads"),
])
def test_parts_that_do_not_fit_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_feed_forward_with_and_without_a_gate():
    gate, up, down = Affine(normal(8, 6), normal(8)), Affine(normal(8, 6)), Affine(normal(6, 8), normal(6))
    np.testing.assert_allclose(FeedForward(up, down, exact_gelu)(X), exact_gelu(X @ up.weight.T) @ down.weight.T + down.bias, rtol=0, atol=1e-13)
    gated = silu(X @ gate.weight.T + gate.bias) * (X @ up.weight.T)
    np.testing.assert_allclose(FeedForward(up, down, silu, gate)(X), gated @ down.weight.T + down.bias, rtol=0, atol=1e-12)


def test_blocks_in_three_orders():
    norms = [lambda x, n=n: x + n for n in (1, 2, 3, 4)]
    attention, forward = (lambda x, cache: 10 * x), (lambda x: 100 * x)
    def made(order):
        return ResidualBlock(norms[0], attention, norms[1], norms[2], forward, norms[3], order, 0.5)(X)
    middle = X + 0.5 * (10 * (X + 1) + 2)
    np.testing.assert_allclose(made("serial"), middle + 0.5 * (100 * (middle + 3) + 4), rtol=1e-15)
    np.testing.assert_allclose(made("parallel"), X + 0.5 * (10 * (X + 1) + 2) + 0.5 * (100 * (X + 3) + 4), rtol=1e-15)
    middle = X + 10 * X + 1
    np.testing.assert_allclose(made("after"), middle + 100 * middle + 3, rtol=1e-15)


def layer(heads=4, kv_heads=2, **options):
    rng = np.random.default_rng(1)
    width, dim = 6, 8
    parts = {name: Affine(rng.standard_normal((n * dim, width)), rng.standard_normal(n * dim))
             for name, n in (("q", heads), ("k", kv_heads), ("v", kv_heads))}
    return TrainedAttention(**{**parts, "out": Affine(rng.standard_normal((width, heads * dim)), rng.standard_normal(width)),
                               "heads": heads, "kv_heads": kv_heads, "mechanism": definitions.attention, **options})


def by_hand(made, x, norm, whole, frequencies, interleaved, options):
    rows = [x @ part.weight.T + part.bias for part in (made.q, made.k, made.v)]
    if whole:
        rows[:2] = [norm(row) for row in rows[:2]]
    q, k, v = (np.stack(np.split(row, row.shape[-1] // 8, axis=-1), axis=-3) for row in rows)
    if not whole:
        q, k = norm(q), norm(k)
    q, k = (np.concatenate([rotary(part[..., :4], np.arange(5), frequencies=frequencies, interleaved=interleaved), part[..., 4:]], axis=-1) for part in (q, k))
    out = definitions.attention(q, k, v, causal=True, **options)
    return np.concatenate([out[:, h] for h in range(4)], axis=-1) @ made.out.weight.T + made.out.bias


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
def test_attention_is_its_formula_and_the_same_through_a_cache(whole, interleaved):
    frequencies, options = linear_frequencies(4, factor=2.0), {"window": (2, 0), "scale": 0.3, "softcap": 5.0}
    made = layer(frequencies=frequencies, interleaved=interleaved, q_norm=rms_norm, k_norm=rms_norm, norms_whole=whole, options=options)
    expected = by_hand(made, X, rms_norm, whole, frequencies, interleaved, options)
    np.testing.assert_allclose(made(X, causal=True), expected, rtol=0, atol=1e-13)
    cache = GrowingCache()
    pieces = [made(X[:, :2], cache=cache, causal=True), *(made(X[:, i : i + 1], cache=cache, causal=True) for i in range(2, 5))]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, rtol=0, atol=1e-13)


def test_projections_are_clipped_before_they_are_rotated():
    made = layer(clip=0.5)
    q, k, v = made.parts(X)
    assert max(np.abs(part).max() for part in (q, k, v)) == 0.5


def test_gradients_reach_norms_and_matrices():
    w = {"q": normal(8), "x": X}
    def loss(w):
        return np.sum(layer(q_norm=RMSNorm(w["q"]), frequencies=linear_frequencies(4, factor=2.0))(w["x"], causal=True) ** 2)
    found, step = grad(loss)(w), 1e-6
    for name in w:
        along = normal(*w[name].shape)
        there, back = ({**w, name: w[name] + sign * step * along} for sign in (1, -1))
        assert abs((loss(there) - loss(back)) / (2 * step) - np.sum(found[name] * along)) < 1e-6 * np.abs(found[name]).sum()
