"""The small decoders of the tests of generation."""

import numpy as np
import pytest

from tinyattn.catalog import find
from tinyattn.engine.tree import map_tree
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder

SMALL = {"width": 16, "layers": 2, "heads": 4, "kv_heads": 2, "hidden": 24, "context": 64}


@pytest.fixture
def model():
    """Makes a float64 decoder whose weights are large enough that what it writes depends on what it read."""
    def made(name="attention", seed=0, vocab=256, factor=12.0, **sizes):
        decoder = Decoder.create(DecoderConfig(vocab=vocab, **SMALL | sizes), np.random.default_rng(seed), **find(name).mixing)
        return map_tree(lambda a: a * factor if isinstance(a, np.ndarray) and a.ndim > 1 else a, decoder.astype(np.float64))

    return made


@pytest.fixture
def near():
    """Makes a decoder whose weights are those of another, moved a little: a draft that is often right."""
    def made(decoder, seed, by):
        rng = np.random.default_rng(seed)
        return map_tree(lambda a: a * (1.0 + by * rng.standard_normal(a.shape)) if isinstance(a, np.ndarray) else a, decoder)

    return made
