"""Layers that are called with what they cannot take say so by name; halves go in and halves come out."""

import ml_dtypes
import numpy as np
import pytest

from tinyattn import definitions, layers
from tinyattn.caches import GrowingCache
from tinyattn.engine.tree import map_tree
from tinyattn.layers.inputs import Input, identity

RNG = np.random.default_rng
EPS = float(np.finfo(np.float32).eps)
X = RNG(1).standard_normal((2, 6, 8)).astype(np.float32)
IMAGES = RNG(2).standard_normal((3, 4, 6)).astype(np.float32)
MADE = {
    "self": layers.SelfAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention, deviation=0.3),
    "cross": layers.CrossAttention.create(RNG(0), 8, 4, 2, mechanism=definitions.attention),
    "latent": layers.LatentAttention.create(RNG(0), 8, 2, 1),
    "swiglu": layers.SwiGLU.create(RNG(0), 8, 5), "norm": layers.RMSNorm.create(8),
    "gate": layers.SpatialGate.create(RNG(0), (2, 3), size=3),
    "swin": layers.SwinBlock.create(RNG(0), 8, 2, 4, grid=(2, 3), window=(2, 3)),
    "input": Input("gate", "heads", identity, 0.5).create(RNG(0), 8, 4, 2, 2),
}
CALLS = {name: (lambda x, layer=layer: layer(x)) for name, layer in MADE.items()} | {"cross": lambda x: MADE["cross"](x, X)}
BAD = [("a last axis of 7", np.ones((2, 6, 7), np.float32), ValueError), ("integers", np.ones((2, 6, 8), int), TypeError), ("a list", X.tolist(), TypeError),
       ("None", None, TypeError), ("complex numbers", X.astype(complex), TypeError), ("a masked array", np.ma.masked_array(X), TypeError),
       ("a number", np.ones((), np.float32), ValueError)]


@pytest.mark.parametrize(("name", "x", "error"), [
    pytest.param(name, x, error, id=f"{name}-{what}") for name in CALLS for what, x, error in BAD
    if (name, what) != ("gate", "a last axis of 7")])  # a gate takes any number of channels
def test_a_damaged_input_is_named(name, x, error):
    with pytest.raises(error, match="^(x|weight): "):
        CALLS[name](x)


@pytest.mark.parametrize(("images", "error"), [(np.ones((3, 4, 5), np.float32), ValueError), (IMAGES.astype(int), TypeError), (None, TypeError),
                                               (np.ones(4, np.float32), ValueError), (IMAGES.tolist(), TypeError)])
def test_damaged_images_are_named(images, error):
    layer = layers.PatchEmbedding.create(RNG(0), (2, 3), 2, 8)
    assert layer(IMAGES).shape == (3, 6, 8)
    with pytest.raises(error, match="images: "):
        layer(images)


@pytest.mark.parametrize("name", ["self", "latent"])
@pytest.mark.parametrize(("positions", "error"), [(np.arange(5)[None], ValueError), (np.ones((1, 6)), TypeError), ("later", TypeError), ([[0.5] * 6], TypeError),
                                                  (np.arange(4), ValueError), (np.array(3), ValueError)])
def test_damaged_positions_are_named(name, positions, error):
    with pytest.raises(error, match="positions: "):
        MADE[name](X, positions=positions)
    whole = MADE[name](X, causal=True)
    for given in (np.arange(6, dtype=np.uint8)[None], np.arange(6)[None], np.tile(np.arange(6), (2, 1))):
        np.testing.assert_allclose(MADE[name](X, positions=given, causal=True), whole, rtol=4 * EPS, atol=EPS)


@pytest.mark.parametrize(("sizes", "words"), [((9, 4, 2), "heads: expected a divisor of the width 9, got 4"), ((8, 4, 3), "kv_heads: expected a divisor of the 4 heads"),
                                              ((8, 2, 4), "kv_heads"), ((12, 4, 2), "heads: rotary positions rotate pairs")])
def test_sizes_that_do_not_divide(sizes, words):
    with pytest.raises(ValueError, match=words):
        layers.SelfAttention.create(RNG(0), *sizes, mechanism=definitions.attention)
    layers.SelfAttention.create(RNG(0), 12, 4, 2, mechanism=definitions.attention, base=None)  # nothing is turned


@pytest.mark.parametrize("make", [lambda: layers.PatchEmbedding.create(RNG(0), (2, 3, 4), 2, 8), lambda: layers.SpatialGate.create(RNG(0), (2,)),
                                  lambda: layers.SpatialGate.create(RNG(0), (2, 3, 4))])
def test_grids_of_other_than_two_axes(make):
    with pytest.raises(ValueError, match="grid: expected"):
        make()


def test_gates_of_even_size():
    with pytest.raises(ValueError, match="size: expected an odd number, got 4"):
        layers.SpatialGate.create(RNG(0), (2, 3), size=4)


HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", [name for name in CALLS if name != "cross"])
def test_a_layer_of_halves_is_its_float32_twin_within_their_rounding(name, dtype):
    cast = lambda tree, kind: map_tree(lambda leaf: leaf.astype(kind) if isinstance(leaf, np.ndarray) else leaf, tree)
    half = cast(MADE[name], dtype)
    x = X.astype(dtype)
    got, want = half(x), cast(half, np.float32)(x.astype(np.float32))
    assert got.dtype == dtype
    eps = {"float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}[dtype.name]
    rng, twin = RNG(3), cast(half, np.float32)
    moved = [map_tree(lambda leaf: (leaf * (1 + eps * rng.choice((-1.0, 1.0), leaf.shape))).astype(np.float32) if isinstance(leaf, np.ndarray) else leaf, twin)
             (x.astype(np.float32) * (1 + eps * rng.choice((-1.0, 1.0), x.shape)).astype(np.float32)) for _ in range(8)]
    budget = 4 * (max(np.abs(one - want).max() for one in moved) + eps * np.abs(want).max())
    assert np.abs(got.astype(np.float32) - want).max() < budget < np.abs(want).max()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_products_of_halves_that_are_beyond_float16_are_held_within_a_layer(dtype):
    matrix, x = np.full((8, 8), 0.25, dtype), np.full((1, 1, 8), 200.0, dtype)
    # The hidden numbers are 400 * 400, beyond float16; the last matrix brings them down again.
    out = layers.SwiGLU(matrix, matrix, np.full((8, 8), 2.0 ** -10, dtype))(x)
    np.testing.assert_array_equal(out, np.full((1, 1, 8), 8 * 400 * 400 / 1024).astype(dtype))


def test_what_a_cache_holds_is_as_small_as_the_parameters():
    half, cache = map_tree(lambda leaf: leaf.astype(np.float16) if isinstance(leaf, np.ndarray) else leaf, MADE["self"]), GrowingCache()
    half(X.astype(np.float16), cache=cache)
    assert cache.view()[0].dtype == np.float16
