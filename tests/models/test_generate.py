"""Writing on: rows side by side, beams, proposals and prefixes give what plain generation gives."""

import itertools

import numpy as np
import pytest

from tinyattn.caches import FixedCache, GrowingCache, PagePool, QuantizedCache, RingCache
from tinyattn.catalog import ROWS, find
from tinyattn.models.batched import generate_batch
from tinyattn.models.beam import beam_search
from tinyattn.models.generate import generate
from tinyattn.models.prefix import Prefix
from tinyattn.models.speculate import speculate
from tinyattn.ops.softmax import log_softmax

RNG = np.random.default_rng
NAMES = ["attention", "linear_attention", "gated_delta_rule", "latent_attention_expanded"]
PROMPTS = [b"a", b"abcdefg", b"xyz", b"abcdefh"]  # as many as heads


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.mixer is not None and row.name not in NAMES])
def test_a_row_of_any_mechanism_is_what_it_is_alone(name, model):
    decoder = model(name)
    alone = np.array([[*generate(decoder, prompt, 3, cache=find(name).cache)] for prompt in PROMPTS[:2]])
    np.testing.assert_array_equal(np.stack([*generate_batch(decoder, PROMPTS[:2], 3, cache=find(name).cache)], axis=1), alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_what_it_is_alone(name, model):
    decoder = model(name)
    for prompts in (PROMPTS, PROMPTS[1:2], PROMPTS[::-1][:2]):
        alone = np.array([[*generate(decoder, prompt, 8)] for prompt in prompts])
        assert len(np.unique(alone)) > 3
        for cache in (None, find(name).cache):
            np.testing.assert_array_equal(np.stack([*generate_batch(decoder, prompts, 8, cache=cache)], axis=1), alone)


def test_rows_are_drawn_from_their_own_logits(model):
    decoder = model(vocab=4)
    rows = np.stack([*generate_batch(decoder, [bytes([0])] * 600, 2, RNG(0), temperature=1.0, cache=GrowingCache)])
    logits = decoder(np.array([[0]]))[0, -1]
    share = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert (np.abs(np.bincount(rows[0], minlength=4) / 600 - share) <= 5 * np.sqrt(share * (1 - share) / 600)).all()


@pytest.mark.parametrize("cache", [None, GrowingCache], ids=["from scratch", "cached"])
def test_as_many_beams_as_texts_are_exhaustive(cache, model):
    decoder = model(vocab=3)
    beams = beam_search(decoder, bytes([2, 0]), 4, beams=81, cache=cache)
    texts = np.array([*itertools.product(range(3), repeat=4)])
    logits = decoder(np.concatenate((np.tile([2, 0], (81, 1)), texts), axis=1))[:, 1:-1]
    scores = np.take_along_axis(log_softmax(logits), texts[:, :, None], axis=-1).sum(axis=(1, 2))
    order = np.argsort(-scores)
    assert scores[order[0]] - scores[order[1]] > 1e-6
    np.testing.assert_array_equal(beams.tokens, texts[order])
    np.testing.assert_allclose(beams.scores, scores[order], rtol=1e-12)
    # A search of this width cannot lose the best text where every prefix of it is among the best.
    np.testing.assert_array_equal(beam_search(decoder, bytes([2, 0]), 4, beams=40, cache=cache).tokens[0], texts[order[0]])


def listed_beams(decoder, prompt, tokens, beams):
    """Beam search over Python lists, every text read anew."""
    live = [(0.0, [*prompt])]
    for _ in range(tokens):
        grown = []
        for score, text in live:
            logits = log_softmax(decoder(np.array([text]))[0, -1:])[0]
            grown += [(score + logits[token], [*text, token]) for token in range(len(logits))]
        live = sorted(grown, key=lambda pair: -pair[0])[:beams]
    return [text[len(prompt) :] for _, text in live], [score for score, _ in live]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beams", [1, 2, 5])
def test_beams_are_those_of_a_search_over_lists(name, beams, model):
    decoder = model(name, vocab=7, seed=3)
    texts, scores = listed_beams(decoder, bytes([1, 5]), 6, beams)
    for cache in (None, find(name).cache):
        found = beam_search(decoder, bytes([1, 5]), 6, beams=beams, cache=cache)
        np.testing.assert_array_equal(found.tokens, texts)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-11)
    if beams == 1:
        assert texts[0] == [*generate(decoder, bytes([1, 5]), 6)]


def test_no_tokens_are_one_empty_beam(model):
    beams = beam_search(model(), b"ab", 0, beams=3)
    assert beams.tokens.shape == (1, 0)
    assert beams.scores.tolist() == [0.0]


POOL = PagePool(64, 4)
EXACT = {"fixed": lambda: FixedCache(24), "paged": POOL.sequence, "ring": lambda: RingCache(24, slack=8), "int8": lambda: QuantizedCache(group=4, residual=24)}


@pytest.mark.parametrize("name", EXACT)
def test_any_cache_that_holds_it_all_writes_the_same(name, model, near):
    decoder, cache = model(), EXACT[name]
    plain = [*generate(decoder, b"abc", 18)]
    assert [*generate(decoder, b"abc", 18, cache=cache)] == plain
    assert [*speculate(decoder, near(decoder, 1, 0.1), b"abc", 18, cache=cache)] == plain
    system = Prefix.read(decoder, b"ab", cache)
    assert [*system.generate(b"c", 18)] == plain
    system.free()
    mine, plain = (beam_search(decoder, b"abc", 5, beams=3, cache=given).tokens for given in (cache, None))
    np.testing.assert_array_equal(mine, plain)
    mine, plain = (np.stack([*generate_batch(decoder, PROMPTS, 4, cache=given)]) for given in (cache, None))
    np.testing.assert_array_equal(mine, plain)
    assert POOL.used_pages == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_prefix_is_its_text_read_anew(name, model):
    decoder = model(name)
    system = Prefix.read(decoder, b"be brief. ", find(name).cache)
    turn = system.extended(b"hello? ")
    for prefix, prompt in ((system, b"one"), (turn, b"two"), (system, b"three"), (turn.extended(b"x"), b"y"), (system, b"one")):
        for options in ({}, {"temperature": 1.2, "top_k": 9}):
            whole = [*generate(decoder, prefix.text + prompt, 9, RNG(3), **options)]
            assert [*prefix.generate(prompt, 9, RNG(3), **options)] == whole
    assert [cache.length for cache in system.caches] == [10, 10]


def test_side_by_side_continuations_of_a_prefix_do_not_meet(model):
    decoder = model()
    system = Prefix.read(decoder, b"be brief. ", GrowingCache)
    one, two = system.generate(b"a", 6), system.generate(b"b", 6)
    pairs = [*zip(one, two, strict=True)]
    assert [[*tokens] for tokens in zip(*pairs, strict=True)] == [[*generate(decoder, b"be brief. " + p, 6)] for p in (b"a", b"b")]
