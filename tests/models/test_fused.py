"""Models take the kernels of a step where they are large, and give what they give without them."""

import numpy as np
import pytest

from tinyattn.engine import grad, value_and_grad
from tinyattn.engine.tree import leaves, map_tree
from tinyattn.layers import fused
from tinyattn.layers.norm import LayerNorm
from tinyattn.models import optimise
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, loss
from tinyattn.models.optimise import AdamW, clip, update

RNG = np.random.default_rng
CONFIG = DecoderConfig(width=64, layers=1, heads=2, kv_heads=1, hidden=96, context=32)
KERNELS = {"rms_norm", "feed_forward", "rotary_from", "cross_entropy", "embedding", "project"}


def arrays(tree):
    return [leaf for leaf in leaves(tree) if isinstance(leaf, np.ndarray)]


def problem(dtype=np.float32):
    decoder = Decoder.create(CONFIG, RNG(0), deviation=0.12).astype(dtype)
    tokens = RNG(1).integers(0, 256, (16, 33))
    return decoder, tokens[:, :-1], tokens[:, 1:]


def test_a_large_model_takes_every_kernel_and_a_small_one_none(monkeypatch):
    taken, found = set(), fused.step

    def watched(module, name):
        taken.add(name)
        return found(module, name)

    monkeypatch.setattr(fused, "step", watched)
    decoder, inputs, targets = problem()
    loss(decoder, inputs[:1, :4], targets[:1, :4])
    assert not taken
    loss(decoder, inputs, targets)
    assert taken - {"fits"} == KERNELS
    LayerNorm.create(64)(np.ones((512, 64), np.float32))
    fused.gelu(np.ones(1 << 14))
    fused.exact_gelu(np.ones(1 << 14))
    fused.swiglu(np.ones(1 << 14), np.ones(1 << 14))
    assert taken - {"fits"} == KERNELS | {"layer_norm", "gelu", "exact_gelu", "swiglu"}
    assert all(found(module, name) is not None for module, name in (("norm", "rms_norm"), ("product", "project"), ("loss", "cross_entropy")))


def test_the_loss_and_its_gradients_are_those_without_kernels(monkeypatch):
    given = problem()
    value, slopes = value_and_grad(loss)(*given)
    monkeypatch.setattr(fused, "LEAST", 1 << 60)
    plain, slopes_in_numpy = value_and_grad(loss)(*given)
    truth, true_slopes = value_and_grad(loss)(*problem(np.float64))
    eps = float(np.finfo(np.float32).eps)
    assert abs(value - truth) <= 4 * (abs(plain - truth) + eps * truth)
    for got, honest, want in zip(*map(arrays, (slopes, slopes_in_numpy, true_slopes)), strict=True):
        assert np.abs(got - want).max() <= 4 * (np.abs(honest - want).max() + eps * np.abs(want).max())


def test_a_large_model_is_differentiated_twice():
    decoder, inputs, targets = problem(np.float64)
    way = map_tree(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape) if isinstance(leaf, np.ndarray) else leaf, decoder)

    def along(model):
        slopes = grad(loss)(model, inputs, targets)
        return sum(np.sum(a * b) for a, b in zip(*([x for x in leaves(tree) if hasattr(x, "shape")] for tree in (slopes, way)), strict=True))

    curve = grad(along)(decoder)

    def moved(step):
        return map_tree(lambda leaf, by: leaf + step * by if isinstance(leaf, np.ndarray) else leaf, decoder, way)

    # The error of a central difference falls with the square of the step.
    errors = []
    for step in (2e-4, 1e-4):
        ends = [grad(loss)(moved(sign * step), inputs, targets) for sign in (1, -1)]
        errors.append(max(np.abs((a - b) / (2 * step) - c).max() / np.abs(c).max() for a, b, c in zip(*map(arrays, (*ends, curve)), strict=True)))
    assert errors[1] < 0.3 * errors[0] < 0.03


@pytest.mark.parametrize("limit", [None, 1e-3, 1e9])
@pytest.mark.parametrize("size", [1.0, 1e25, 1e-25])
def test_a_step_of_adamw_by_the_kernel_is_that_without_it(monkeypatch, limit, size):
    rng = RNG(0)
    params = {"w": rng.standard_normal((300, 70)).astype(np.float32), "b": [rng.standard_normal(37).astype(np.float32), 3], "n": np.ones((), np.float32)}
    state = AdamW.create(params)
    states = {"kernel": (params, state), "numpy": (params, state)}
    for number in range(3):
        slopes = map_tree(lambda leaf, n=number: np.float32(size) * np.sin(leaf + n) if isinstance(leaf, np.ndarray) else leaf, params)
        for name, least in (("kernel", 1), ("numpy", 1 << 60)):
            monkeypatch.setattr(optimise, "LEAST_SIZE", least)
            states[name] = update(*states[name][:1], slopes, states[name][1], rate=1e-2, limit=limit)
    got, want = ([*arrays(params), *arrays(state.first), *arrays(state.second)] for params, state in states.values())
    assert states["kernel"][1].steps == 3
    assert states["kernel"][0]["b"][1] == 3
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype == np.float32
        assert a.shape == b.shape
        # Some ten operations of float32, each of which rounds by half a unit of the largest number.
        np.testing.assert_allclose(a, b, rtol=0, atol=5 * float(np.finfo(np.float32).eps) * max(np.abs(b).max(), 1e-30))


def test_a_limit_is_a_clip_before_the_step():
    params, slopes = {"w": np.ones((2, 3))}, {"w": np.arange(6.0).reshape(2, 3)}
    one = update(params, slopes, AdamW.create(params), rate=0.1, limit=2.0)
    other = update(params, clip(slopes, 2.0)[0], AdamW.create(params), rate=0.1)
    for a, b in zip(*map(arrays, (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)
    for limit in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="limit: expected"):
            update(params, slopes, AdamW.create(params), rate=0.1, limit=limit)


def test_a_step_of_adamw_changes_no_array_that_it_is_given():
    params = {"w": RNG(0).standard_normal((200, 100)).astype(np.float32)}
    state, slopes = AdamW.create(params), {"w": np.ones((200, 100), np.float32)}
    kept = [x.copy() for x in arrays((params, state.first, state.second, slopes))]
    update(params, slopes, state, rate=0.1, limit=1.0)
    for before, after in zip(kept, arrays((params, state.first, state.second, slopes)), strict=True):
        np.testing.assert_array_equal(before, after)
