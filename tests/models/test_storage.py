"""A decoder whose parameters are float16 or bfloat16 computes what its float32 twin computes, within their rounding."""

import ml_dtypes
import numpy as np
import pytest

from tinyattn import caches
from tinyattn.engine.grad import grad, value_and_grad
from tinyattn.engine.tree import leaves, map_tree
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, loss, parameters
from tinyattn.models.optimise import AdamW, clip, schedule, update

CONFIG = DecoderConfig(vocab=40, width=24, layers=2, heads=4, kv_heads=2, hidden=32, context=16)
HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
EPS = {"float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}  # half of the distance between 1 and the next number
TOKENS = np.random.default_rng(1).integers(0, 40, (2, 9)).astype(np.uint8)
DRAWS = 8


def decoder(dtype):
    """A decoder of numbers that the dtype holds, large enough for its attention to choose."""
    made = Decoder.create(CONFIG, np.random.default_rng(0))
    return map_tree(lambda leaf: (leaf * 10 if leaf.ndim > 1 else leaf).astype(dtype) if isinstance(leaf, np.ndarray) else leaf, made)


def jitter(f, model, eps):
    """The largest change of f(model) when all parameters move by eps, in either direction, over some draws."""
    rng, base, largest = np.random.default_rng(2), f(model), 0.0
    for _ in range(DRAWS):
        moved = map_tree(lambda leaf: (leaf * (1.0 + eps * rng.choice((-1.0, 1.0), leaf.shape))).astype(leaf.dtype)
                         if isinstance(leaf, np.ndarray) else leaf, model)
        largest = max(largest, float(np.abs(f(moved) - base).max()))
    return largest


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in leaves(tree) if isinstance(leaf, np.ndarray)])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_logits_are_those_of_the_float32_twin(dtype):
    half = decoder(dtype)
    twin = half.astype(np.float32)
    got, want = half(TOKENS), twin(TOKENS)
    assert got.dtype == dtype
    budget = 4 * (jitter(lambda model: model(TOKENS), twin, EPS[dtype.name]) + EPS[dtype.name] * np.abs(want).max())
    error = np.abs(got.astype(np.float32) - want).max()
    assert error < budget < np.abs(want).max()  # a budget as large as the logits would prove nothing


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_cached_logits_are_those_of_the_whole_text(dtype):
    half = decoder(dtype)
    held = [caches.GrowingCache() for _ in range(CONFIG.layers)]
    parts = [half(TOKENS[:, :5], caches=held), *(half(TOKENS[:, i : i + 1], caches=held) for i in range(5, 9))]
    keys, values, _ = held[0].view()
    assert keys.dtype == values.dtype == dtype  # what is kept is as small as the parameters
    want = half.astype(np.float32)(TOKENS)
    budget = 4 * (jitter(lambda model: model(TOKENS), half.astype(np.float32), EPS[dtype.name]) + EPS[dtype.name] * np.abs(want).max())
    assert np.abs(np.concatenate(parts, axis=1).astype(np.float32) - want).max() < budget


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_are_those_of_the_float32_twin(dtype):
    half, targets = decoder(dtype), np.roll(TOKENS, -1, axis=1)
    twin = half.astype(np.float32)
    value, gradients = value_and_grad(loss)(half, TOKENS, targets)
    assert abs(float(value) - float(loss(twin, TOKENS, targets))) < 32 * EPS[dtype.name]
    assert {leaf.dtype for leaf in parameters(gradients).values()} == {dtype}
    want = flat(grad(loss)(twin, TOKENS, targets))
    budget = 4 * (jitter(lambda model: flat(grad(loss)(model, TOKENS, targets)), twin, EPS[dtype.name]) + EPS[dtype.name] * np.abs(want).max())
    assert np.abs(flat(gradients) - want).max() < budget < np.abs(want).max()


def test_large_embeddings_of_float16_do_not_vanish_in_the_norm():
    made = Decoder.create(DecoderConfig(width=512, layers=1), np.random.default_rng(0))
    made.embedding[:] *= 700
    half, single = (made.astype(kind)(np.arange(20)[None]).astype(np.float64) for kind in (np.float16, np.float32))
    np.testing.assert_allclose(half, single, atol=16 * EPS["float16"] * np.abs(single).max())


@pytest.mark.parametrize("dtype", [np.int64, np.complex64, np.longdouble, "V2"])
def test_a_decoder_is_not_cast_to_what_it_cannot_compute_with(dtype):
    with pytest.raises(TypeError, match="dtype: expected float16"):
        decoder(np.float32).astype(dtype)


def test_a_decoder_takes_one_cache_of_its_own_for_each_layer():
    model = decoder(np.float32)
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"caches: expected 2, one for each layer, each its own, got {count}"):
            model(TOKENS, caches=[caches.GrowingCache() for _ in range(count)])
    with pytest.raises(ValueError, match="caches: expected 2, one for each layer, each its own, got one object twice"):
        model(TOKENS, caches=[caches.GrowingCache()] * 2)


SIZES = [(np.float16, 300.0), (ml_dtypes.bfloat16, 3e25), (np.float32, 1e20), (np.float32, 1e-30), (np.float64, 1e200), (np.float64, 1e-200)]


@pytest.mark.parametrize(("dtype", "size"), SIZES)
def test_clipping_holds_where_squares_are_beyond_the_dtype(dtype, size):
    given = np.full(2, size, dtype)
    size, limit = float(given[0]), float(given[0]) / 8
    clipped, norm = clip({"w": given, "n": 3}, limit)
    assert clipped["w"].dtype == dtype and clipped["n"] == 3
    assert np.isclose(norm, size * 2 ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(clipped["w"].astype(np.float64) / limit, 0.5 ** 0.5, rtol=2.0 ** -8)
    same, norm = clip({"w": given}, 2 * size)
    np.testing.assert_array_equal(same["w"], given)


def test_clipping_what_has_no_size():
    zeros = {"w": np.zeros(2, np.float32)}
    assert clip(zeros, 1.0)[1] == 0.0
    assert clip({"w": np.zeros((0, 2))}, 1.0)[1] == 0.0
    with pytest.raises(TypeError, match="gradients: expected a tree with at least one floating array, got dict"):
        clip({"n": 3}, 1.0)
    assert clip({"w": np.array([np.inf, 1.0])}, 1.0)[1] == np.inf
    for limit, error in ((0.0, ValueError), (np.nan, ValueError), ("1", TypeError), (True, TypeError)):
        with pytest.raises(error, match="limit"):
            clip(zeros, limit)


@pytest.mark.parametrize(("dtype", "size"), [case for case in SIZES if case[1] > 1])
def test_the_first_step_of_adam_does_not_depend_on_the_size_of_the_gradient(dtype, size):
    p, state = update(np.ones(1, dtype), np.full(1, size, dtype), AdamW.create(np.ones(1, dtype)), rate=0.125)
    assert p.dtype == dtype
    assert float(p[0]) == 0.875
    assert state.second.dtype == (np.float64 if dtype is np.float64 else np.float32)


def test_adam_is_its_formula_over_several_steps():
    rng, p = np.random.default_rng(0), np.array([[1.0, -2.0]])
    state, m, v, mine = AdamW.create(p), 0.0, 0.0, p
    for t in range(1, 6):
        g = rng.standard_normal((1, 2)) * 10.0 ** -t
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        mine = mine - 0.01 * (m / (1 - 0.9 ** t) / (np.sqrt(v / (1 - 0.95 ** t)) + 1e-8) + 0.1 * mine)
        p, state = update(p, g, state, rate=0.01)
    np.testing.assert_allclose(p, mine, rtol=1e-14)


@pytest.mark.parametrize(("changes", "error", "words"), [
    ({"gradients": {"w": np.ones(3)}}, ValueError, r"gradients: .*\(2,\).*\(3,\)"), ({"gradients": {"w": 1}}, TypeError, "gradients: expected a tree"),
    ({"gradients": {"w": np.ones(2), "b": np.ones(2)}}, ValueError, "gradients: expected 1 arrays, .* got 2"),
    ({"gradients": {"v": np.ones(2)}}, ValueError, "gradients: expected an array at 'w', .* got them at v"),
    ({"state": AdamW({"w": np.ones(2)}, {"w": np.ones(3)})}, ValueError, r"state.second: expected shape \(2,\) at 'w'"),
    ({"state": AdamW({"w": np.ones(2)}, "seven")}, TypeError, "state.second: expected a tree"), ({"epsilon": 0.0}, ValueError, "epsilon"),
    ({"state": None}, TypeError, "state"), ({"rate": -1.0}, ValueError, "rate"), ({"rate": "1"}, TypeError, "rate"),
    ({"beta1": 1.0}, ValueError, "beta1"), ({"beta1": -0.1}, ValueError, "beta1"),
    ({"beta2": np.nan}, ValueError, "beta2"), ({"decay": None}, TypeError, "decay"),
    ({"epsilon": -1.0}, ValueError, "epsilon")])
def test_an_optimiser_refuses(changes, error, words):
    given = {"params": {"w": np.ones(2)}, "gradients": {"w": np.ones(2)}, "state": AdamW.create({"w": np.ones(2)}), "rate": 0.1, **changes}
    with pytest.raises(error, match=words):
        update(given.pop("params"), given.pop("gradients"), given.pop("state"), **given)


@pytest.mark.parametrize(("changes", "error"), [({"step": -1}, ValueError), ({"steps": 1.5}, TypeError), ({"peak": np.nan}, ValueError),
                                                ({"warmup": True}, TypeError), ({"floor": None}, TypeError)])
def test_a_schedule_refuses(changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        schedule(**{"step": 1, "steps": 10, "peak": 1.0, "warmup": 2, **changes})
