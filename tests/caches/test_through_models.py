"""A model writes the same through every cache as it does without one."""

from functools import partial

import numpy as np
import pytest

from tinyattn import caches
from tinyattn.layers.latent import LatentAttention
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder

MODELS = {"GrowingCache": caches.GrowingCache, "FixedCache": partial(caches.FixedCache, 40), "RingCache": partial(caches.RingCache, 40),
          "PagedCache": caches.PagePool(200, 4).sequence, "QuantizedCache": partial(caches.QuantizedCache, residual=40),
          "EvictingCache": partial(caches.EvictingCache, caches.HeavyHitters(20, 20)), "BatchCache": partial(caches.BatchCache, None)}


@pytest.mark.parametrize("name", MODELS)
def test_a_decoder_writes_the_same_through_every_cache(name):
    config = DecoderConfig(layers=2, width=16, heads=4, kv_heads=2, hidden=24)
    decoder = Decoder.create(config, np.random.default_rng(0)).astype(np.float64)
    tokens = np.random.default_rng(1).integers(0, 256, (2, 20))
    held = [MODELS[name]() for _ in decoder.blocks]
    logits = [decoder(tokens[:, a:b], caches=held) for a, b in ((0, 11), (11, 12), (12, 20))]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), decoder(tokens), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("row", [caches.GrowingCache, partial(caches.RingCache, 4)])
def test_a_decoder_reads_rows_of_different_lengths_as_if_each_were_alone(side, row):
    config = DecoderConfig(layers=2, width=16, heads=4, kv_heads=2, hidden=24)
    decoder = Decoder.create(config, np.random.default_rng(0)).astype(np.float64)
    texts, lengths = [np.random.default_rng(n).integers(0, 256, n + 2) for n in (7, 3)], (7, 3)
    own = [slice(7 - n, 7) if side == "left" else slice(0, n) for n in lengths]
    padded = np.zeros((2, 7), np.int64)
    for into, text, place in zip(padded, texts, own, strict=True):
        into[place] = text[:-2]
    held = [caches.BatchCache(lengths, row, padding=side) for _ in decoder.blocks]
    first = decoder(padded, caches=held, positions=held[0].positions(7))
    rest = decoder(np.stack([text[-2:] for text in texts]), caches=held, positions=held[0].positions(2))
    for b, text in enumerate(texts):
        alone = [row() for _ in decoder.blocks]
        want = np.concatenate([decoder(text[None, t : t + 1], caches=alone) for t in range(len(text))], axis=1)[0]
        np.testing.assert_allclose(np.concatenate((first[b, own[b]], rest[b])), want, rtol=1e-13, atol=1e-14)


def test_latents_are_all_that_a_latent_layer_keeps():
    config = DecoderConfig(layers=2, width=16, heads=4, kv_heads=2, hidden=24)
    decoder = Decoder.create(config, np.random.default_rng(0), layer=LatentAttention.create).astype(np.float64)
    tokens = np.random.default_rng(1).integers(0, 256, (2, 9))
    held = [caches.LatentCache() for _ in decoder.blocks]
    logits = [decoder(tokens[:, a:b], caches=held) for a, b in ((0, 5), (5, 6), (6, 9))]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), decoder(tokens), rtol=1e-13, atol=1e-14)
    layer = decoder.blocks[0].attention
    rope = layer.down.shape[1] - layer.w_uk.shape[1]
    assert held[0].nbytes == 2 * 9 * (layer.w_uk.shape[1] + rope) * 8
