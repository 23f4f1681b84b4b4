"""Training: the optimiser against its formula, learning, files, and decoding from caches."""

import math
import sys

import numpy as np
import pytest

from tinyattn import definitions, fastest
from tinyattn.caches import GrowingCache, StateCache
from tinyattn.engine import value_and_grad
from tinyattn.engine.tree import map_tree
from tinyattn.models import checkpoint
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, check_tokens, loss, parameters
from tinyattn.models.evaluate import bits_per_byte, gap_in_budgets
from tinyattn.models.generate import generate
from tinyattn.models.optimise import AdamW, clip, schedule, update
from tinyattn.models.text import batch_of
from tinyattn.models.train import train
from tinyattn.ops.files import safetensors

RNG = np.random.default_rng
CONFIG = DecoderConfig(vocab=256, width=16, layers=2, heads=4, kv_heads=2, hidden=24, context=16)
TEXT = np.frombuffer(b"abcdefgh" * 60, np.uint8)
MIXERS = [(fastest.attention, GrowingCache), (definitions.linear_attention, StateCache)]
EACH = pytest.mark.parametrize(("mechanism", "cache"), MIXERS, ids=["attention", "linear"])


def trained(steps, *, decoder=None, state=None, seed=0, mechanism=fastest.attention):
    decoder = Decoder.create(CONFIG, RNG(0), mechanism=mechanism) if decoder is None else decoder
    return list(train(decoder, TEXT, steps=steps, context=16, batch=4, rng=RNG(seed), state=state))


@EACH
def test_a_model_learns_what_is_easy(mechanism, cache):
    steps = trained(120, mechanism=mechanism)
    assert steps[0].loss == pytest.approx(math.log(256), rel=0.02)
    assert steps[-1].loss < 0.25 * steps[0].loss  # half of it is what the frequencies of the letters alone give
    inputs = TEXT[None, :16].astype(np.int64)
    assert bits_per_byte(steps[-1].decoder, inputs, TEXT[None, 1:17].astype(np.int64)) == pytest.approx(
        float(loss(steps[-1].decoder, inputs, TEXT[None, 1:17].astype(np.int64))) / math.log(2))


def test_the_same_seed_gives_the_same_losses_and_another_another():
    losses = [[step.loss for step in trained(3, seed=seed)] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_nan_parameters_stop_the_training_by_name():
    decoder = map_tree(lambda a: a * np.nan if isinstance(a, np.ndarray) else a, Decoder.create(CONFIG, RNG(0)))
    with pytest.raises(FloatingPointError, match="step 0: the loss is nan"):
        trained(1, decoder=decoder)


def test_adamw_is_its_formula_step_by_step():
    rng = RNG(3)
    p, v = rng.standard_normal((3, 2)), rng.standard_normal(2)
    tree, state = {"p": p, "v": v}, AdamW.create({"p": p, "v": v})
    m1, m2, n1, n2 = 0 * p, 0 * p, 0 * v, 0 * v
    for t in range(1, 4):
        g, h = rng.standard_normal((3, 2)), rng.standard_normal(2)
        tree, state = update(tree, {"p": g, "v": h}, state, rate=0.01)
        m1, m2, n1, n2 = 0.9 * m1 + 0.1 * g, 0.95 * m2 + 0.05 * g ** 2, 0.9 * n1 + 0.1 * h, 0.95 * n2 + 0.05 * h ** 2
        p = p - 0.01 * (m1 / (1 - 0.9 ** t) / (np.sqrt(m2 / (1 - 0.95 ** t)) + 1e-8) + 0.1 * p)
        v = v - 0.01 * n1 / (1 - 0.9 ** t) / (np.sqrt(n2 / (1 - 0.95 ** t)) + 1e-8)
        np.testing.assert_allclose(tree["p"], p, rtol=1e-12)
        np.testing.assert_allclose(tree["v"], v, rtol=1e-12)
    assert state.steps == 3


def test_parameters_without_numbers_stay_as_they_are():
    tree = {"none": np.zeros((0, 2)), "one": np.ones(1)}
    moved, state = update(tree, tree, AdamW.create(tree), rate=0.01)
    assert (moved["none"].shape, state.second["none"].shape) == ((0, 2), (0, 2))
    assert moved["one"][0] < 1.0


def test_clipping_keeps_the_direction_and_small_gradients():
    clipped, norm = clip({"a": np.array([3.0]), "b": np.array([4.0])}, 0.5)
    assert norm == 5.0
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [0.3, 0.4], rtol=1e-14)
    small = {"a": np.array([0.1])}
    assert clip(small, 0.5)[0] is small


def test_the_schedule_warms_up_and_decays_to_its_floor():
    rates = [schedule(s, steps=100, peak=1.0, warmup=10) for s in range(100)]
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert all(a < b for a, b in zip(rates[:9], rates[1:10], strict=True))
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert schedule(0, steps=100, peak=1.0, warmup=0) == 1.0


def test_a_checkpoint_resumes_where_it_was(tmp_path):
    steps = trained(3)
    path = tmp_path / "m.safetensors"
    checkpoint.save_training(path, steps[-1].decoder, CONFIG, mechanism="attention", state=steps[-1].state)
    decoder, config, name, state = checkpoint.load_training(path)
    assert (config, name, state.steps) == (CONFIG, "attention", 3)
    for part, other in ((parameters(decoder), parameters(steps[-1].decoder)),
                        (parameters(state.second), parameters(steps[-1].state.second))):
        assert list(part) == list(other)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(part.values(), other.values(), strict=True))
    again = [trained(2, decoder=d, state=s, seed=7)[-1].loss
             for d, s in ((decoder, state), (steps[-1].decoder, steps[-1].state))]
    assert again[0] == again[1]


def test_an_optimiser_that_was_saved_with_mean_squares_is_refused_by_name(tmp_path):
    path, fresh = tmp_path / "m", tmp_path / "fresh"
    decoder = Decoder.create(CONFIG, RNG(0))
    checkpoint.save_training(fresh, decoder, CONFIG, mechanism="attention", state=AdamW.create(decoder))
    arrays, metadata = safetensors.load_with_metadata(fresh)
    older = {name: metadata[name] for name in ("config", "mechanism", "steps")}  # all that an older file says
    safetensors.save(path, arrays, metadata=older)
    with pytest.raises(ValueError, match=f"{path}: the optimiser's state was written by another version.*roots of mean squares"):
        checkpoint.load_training(path)
    safetensors.save(path, arrays, metadata=older | {"second": "mean squares"})
    with pytest.raises(ValueError, match="another version"):
        checkpoint.load_training(path)
    model = {name: array for name, array in arrays.items() if name.startswith("model.")}
    safetensors.save(path, model, metadata={name: metadata[name] for name in ("config", "mechanism")})
    assert checkpoint.load_training(path).state is None  # an older file without an optimiser is what it was


def test_every_difference_of_a_checkpoint_is_listed_at_once(tmp_path):
    path = tmp_path / "m"
    checkpoint.save_training(path, Decoder.create(CONFIG, RNG(0)), CONFIG, mechanism="attention")
    arrays, metadata = safetensors.load_with_metadata(path)
    arrays["model.head"] = arrays["model.head"].T.copy()
    del arrays["model.norm.weight"]
    arrays["model.extra"] = np.zeros(1)
    safetensors.save(path, arrays, metadata=metadata)
    with pytest.raises(ValueError, match="model.norm.weight") as refusal:
        checkpoint.load_training(path)
    assert all(word in str(refusal.value) for word in ("model.head", "(16, 256)", "(256, 16)", "model.extra"))
    safetensors.save(path, arrays)
    with pytest.raises(ValueError, match="no config"):
        checkpoint.load_training(path)


@EACH
def test_cached_writing_is_uncached_writing(mechanism, cache):
    decoder = Decoder.create(CONFIG, RNG(0), mechanism=mechanism).astype(np.float64)
    for options in ({}, {"temperature": 1.3, "top_k": 50, "top_p": 0.9}):
        written = [list(generate(decoder, b"abc", 20, RNG(5), cache=made, **options)) for made in (None, cache)]
        assert written[0] == written[1]
        assert len(set(written[0])) > 1


@EACH
def test_logits_through_caches_are_the_full_ones(mechanism, cache):
    decoder = Decoder.create(CONFIG, RNG(0), mechanism=mechanism)
    tokens = RNG(1).integers(0, 256, (2, 12))
    assert gap_in_budgets(decoder, tokens, cache, RNG(2)) <= 1.0
    caches = [cache() for _ in decoder.blocks]
    wide = decoder.astype(np.float64)
    pieces = np.concatenate([wide(tokens[:, a:b], caches=caches) for a, b in ((0, 5), (5, 6), (6, 12))], axis=1)
    np.testing.assert_allclose(pieces, wide(tokens), rtol=1e-10, atol=1e-12)


def test_a_wrong_cache_is_out_of_its_budget():
    decoder = Decoder.create(CONFIG, RNG(0))

    def forgets():
        return GrowingCache(lambda q, k, v, causal: fastest.attention(q, k, v, causal=True, window=(3, 0)))

    assert gap_in_budgets(decoder, RNG(1).integers(0, 256, (1, 12)), forgets, RNG(2)) > 10.0


def test_later_tokens_do_not_reach_earlier_logits():
    decoder = Decoder.create(CONFIG, RNG(0))
    tokens = RNG(1).integers(0, 256, (1, 10))
    other = tokens.copy()
    other[:, 6:] = (other[:, 6:] + 1) % 256
    np.testing.assert_array_equal(decoder(tokens)[:, :6], decoder(other)[:, :6])
    assert not np.array_equal(decoder(tokens)[:, 6:], decoder(other)[:, 6:])


@pytest.mark.parametrize(("tokens", "error", "words"), [
    (np.zeros((1, 2)), TypeError, "integer array, got float64"), ([[1]], TypeError, "got list"),
    (np.zeros(3, int), ValueError, r"\(batch, length\), got shape \(3,\)"),
    (np.array([[256]]), IndexError, "0 to 255, got 256"), (np.array([[-1]]), IndexError, "got -1"),
])
def test_tokens_that_are_none_are_refused(tokens, error, words):
    with pytest.raises(error, match=words):
        check_tokens(tokens, 256)


@pytest.mark.parametrize(("given", "words"), [({"prompt": b"", "tokens": 1}, "prompt"), ({"prompt": b"a", "tokens": -1}, "tokens.*-1")])
def test_a_prompt_of_nothing_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        list(generate(Decoder.create(CONFIG, RNG(0)), **given))


def test_the_deviation_scales_matrices_and_nothing_else():
    plain, wide = (parameters(Decoder.create(CONFIG, RNG(0), deviation=deviation)) for deviation in (0.02, 0.1))
    assert plain["embedding"].std() == pytest.approx(0.02, rel=0.05)
    for name, array in plain.items():
        np.testing.assert_allclose(wide[name], array * (5.0 if array.ndim > 1 else 1.0), rtol=1e-6)
        assert wide[name].dtype == np.float32


def test_a_step_is_a_clipped_gradient_at_the_rate_of_its_number():
    text = np.arange(100, dtype=np.uint8)
    decoder = map_tree(lambda a: 8 * a if isinstance(a, np.ndarray) else a, Decoder.create(CONFIG, np.random.default_rng(0)))
    state, sizes = AdamW.create(decoder), {"context": 8, "batch": 2}
    first = next(train(decoder, text, steps=40, rng=np.random.default_rng(1), **sizes))
    second = next(train(first.model, text, steps=39, rng=np.random.default_rng(2), state=first.state, **sizes))
    for number, step in enumerate((first, second)):
        value, gradients = value_and_grad(loss)(decoder, *batch_of(text, rng=np.random.default_rng(1 + number), **sizes))
        gradients, norm = clip(gradients, 1.0)
        assert norm > 1.5
        decoder, state = update(decoder, gradients, state, rate=schedule(number, steps=40, peak=3e-3, warmup=2))
        assert (step.number, step.loss, step.state.steps) == (number, float(value), number + 1)
        for name, array in parameters(step.model).items():
            np.testing.assert_array_equal(array, parameters(decoder)[name], err_msg=name)


def test_the_rate_rises_over_a_twentieth_of_all_steps(monkeypatch):
    module = sys.modules[train.__module__]
    asked = []
    monkeypatch.setattr(module, "schedule", lambda number, *, steps, peak, warmup: asked.append((steps, warmup)) or 0.0)
    config = DecoderConfig(width=8, layers=1, heads=2, hidden=8)
    steps = module.train(Decoder.create(config, np.random.default_rng(0)), np.arange(64, dtype=np.uint8), steps=420, context=4, batch=1,
                         rng=np.random.default_rng(0))
    next(iter(steps))
    assert asked == [(420, 21)]
