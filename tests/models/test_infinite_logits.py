"""A model whose numbers overflowed is told so by whatever chooses its tokens, never answered with token 0 for ever."""

import dataclasses

import numpy as np
import pytest

from tinyattn.caches import GrowingCache
from tinyattn.models.beam import beam_search
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.sampling import probabilities, sample
from tinyattn.models.speculate import speculate

RNG = np.random.default_rng
BROKEN = [([1.0, 2.0, np.inf, 0.0], r"logits: \+inf"), ([np.inf, np.inf], r"logits: \+inf"), ([-np.inf, np.inf], r"logits: \+inf"),
          ([np.nan, np.inf], "logits: NaN"), ([0.0, np.nan], "logits: NaN"), ([-np.inf, -np.inf], "logits: a row of -inf")]


@pytest.mark.parametrize(("row", "words"), BROKEN)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_broken_row_is_named_at_every_temperature(row, words, dtype):
    logits = np.array([np.zeros(len(row)), row], dtype)
    for options in ({}, {"top_k": 1}, {"top_p": 0.5}, {"temperature": 0.0}, {"temperature": 1e-9}):
        with pytest.raises(ValueError, match=words):
            sample(logits, RNG(0), **options)
        with pytest.raises(ValueError, match=words):
            probabilities(logits, **options)


def test_large_finite_logits_are_no_fault():
    logits = np.array([1e38, -1e38, 1e38], np.float32)
    np.testing.assert_array_equal(probabilities(logits), [0.5, 0, 0.5])
    assert sample(logits, None, temperature=0.0) == 0
    np.testing.assert_array_equal(probabilities(np.array([-np.inf, 0.0])), [0, 1])


def overflowed():
    made = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, kv_heads=1, hidden=8), RNG(0))
    norm = dataclasses.replace(made.norm, weight=np.full(8, 1e20, np.float32))
    return dataclasses.replace(made, norm=norm, head=np.abs(made.head) * np.float32(1e20) * np.sign(made.embedding[104]).astype(np.float32)[:, None])


WAYS = {
    "greedy": lambda model: list(generate(model, b"h", 2)),
    "sampled": lambda model: list(generate(model, b"h", 2, temperature=1.0, rng=RNG(0))),
    "beams": lambda model: beam_search(model, b"h", 2, beams=2),
    "speculated": lambda model: list(speculate(model, model, b"h", 2, cache=GrowingCache)),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_says_so(way):
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match="logits: "):
        WAYS[way](overflowed())


def test_logits_too_far_apart_for_their_temperature_are_a_choice():
    np.testing.assert_array_equal(probabilities(np.array([0.0, -1e300]), temperature=1e-20), [1.0, 0.0])
