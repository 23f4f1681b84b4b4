"""What comes in the place of a model, a cache, a tree, shares or a file is refused by name, and a schedule ends at its floor."""

import numpy as np
import pytest

from tinyattn import Tensor, models
from tinyattn.caches import BatchCache, GrowingCache
from tinyattn.models.optimise import AdamW, clip, schedule, update

RNG = np.random.default_rng
CONFIG = models.DecoderConfig(vocab=256, width=8, layers=1, heads=2, kv_heads=1, hidden=8, context=16)
DECODER = models.Decoder.create(CONFIG, RNG(0))
TOKENS = np.zeros((1, 3), int)
TREE = {"w": np.ones(2)}
IMAGES = np.zeros((10, 8, 8))


def moved(params, gradients):
    return update(params, gradients, AdamW.create(params), rate=0.1)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: models.Decoder.create(CONFIG, RNG(0), inputs=[3]), TypeError, "inputs: expected a tuple of Input and Parameter"),
    (lambda: models.Decoder.create(CONFIG, RNG(0), inputs=None), TypeError, "inputs: expected a tuple"),
    (lambda: DECODER(TOKENS, caches=[GrowingCache]), TypeError, r"caches\[0\]: expected a cache, got the class GrowingCache"),
    (lambda: DECODER(TOKENS, caches=[None]), TypeError, r"caches\[0\]: expected a cache, got NoneType"),
    (lambda: DECODER.blocks[0].attention(np.ones((1, 3, 8), np.float32), cache="x"), TypeError, "cache: expected a cache, got str"),
    (lambda: BatchCache.of([[GrowingCache()]]), TypeError, r"rows\[0\]: expected a cache, got list"),
    (lambda: BatchCache(padding=np.array(["left", "right"])), ValueError, "padding: expected 'left' or 'right'"),
    (lambda: models.draw(np.array([0.5, -0.5, 1.0]), RNG(0)), ValueError, "share: expected finite probabilities"),
    (lambda: models.draw(np.zeros((2, 3)), RNG(0)), ValueError, "share: expected finite"),
    (lambda: models.draw(np.array([np.nan, 1.0]), RNG(0)), ValueError, "share: expected finite"),
    (lambda: models.draw(np.array([np.inf, 1.0]), RNG(0)), ValueError, "share: expected finite"),
    (lambda: models.draw(Tensor(np.ones(2)), RNG(0)), TypeError, "share: expected an array.*Tensor"),
    (lambda: moved({"0": np.ones(2)}, [np.ones(2)]), ValueError, "gradients: expected a dict, as the parameters are, got a list"),
    (lambda: moved({**TREE, "n": 3}, TREE), ValueError, "gradients: .* missing: n"),
    (lambda: moved(TREE, {"w": Tensor(np.ones(2))}), TypeError, "gradients: expected plain arrays, got a Tensor at 'w'"),
    (lambda: clip({"w": np.ma.array(np.ones(2), mask=[True, False])}, 1.0), TypeError, "gradients: .* got a MaskedArray at 'w'"),
    (lambda: models.save_training(5, DECODER, CONFIG, mechanism="attention"), TypeError, "path: .* got int"),
    (lambda: models.load_training(5), TypeError, "path: .* got int"),
    (lambda: models.load_training("none", mixing="attention"), TypeError, "mixing: expected a function or None, got str"),
    (lambda: models.save_training("none", DECODER, models.DecoderConfig(), mechanism="attention"), ValueError,
     r"config: expected the decoder's vocab, width and layers, \(256, 8, 1\), got \(256, 128, 4\)"),
    (lambda: models.nearest_mean_accuracy(models.Digits(IMAGES, np.arange(10), IMAGES[:1, :4], np.zeros(1, int))), ValueError, "digits.held_images"),
])
def test_what_stands_in_the_wrong_place_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_schedule_stays_at_its_floor():
    assert schedule(10, steps=10, peak=1.0, warmup=2) == schedule(1000, steps=10, peak=1.0, warmup=2) == pytest.approx(0.1)
