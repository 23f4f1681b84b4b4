"""What is drawn: a stream of numbers for each text, and options of sampling that every way of writing on obeys."""

import numpy as np
import pytest

from tinyattn.caches import FixedCache, GrowingCache, PagePool
from tinyattn.engine.tree import map_tree
from tinyattn.models.batched import generate_batch
from tinyattn.models.beam import beam_search
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.prefix import Prefix
from tinyattn.models.sampling import probabilities
from tinyattn.models.speculate import speculate

RNG = np.random.default_rng
PROMPTS = [b"abc", b"x", b"yzabcd", b"abc"]


def model(seed=0, factor=12.0, **sizes):
    sizes = {"vocab": 128, "width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "hidden": 16, "context": 64} | sizes
    decoder = Decoder.create(DecoderConfig(**sizes), RNG(seed)).astype(np.float64)
    return map_tree(lambda a: a * factor if isinstance(a, np.ndarray) and a.ndim > 1 else a, decoder)


def rows(decoder, prompts, tokens, seed=1, **options):
    return np.stack([*generate_batch(decoder, prompts, tokens, RNG(seed), **options)], axis=1)


@pytest.mark.parametrize("cache", [None, GrowingCache], ids=["from scratch", "cached"])
def test_a_row_is_drawn_as_if_it_were_alone(cache):
    decoder, options = model(), {"temperature": 1.0, "cache": cache}
    together, rng = rows(decoder, PROMPTS, 8, **options), RNG(1)
    alone = [[*generate(decoder, prompt, 8, rng, **options)] for prompt in PROMPTS]  # one after the other, the same Generator
    np.testing.assert_array_equal(together, alone)
    assert together[0].tolist() != together[3].tolist()  # two rows of one prompt are two texts
    for others in ([], [b"x"], [b"q", b"rs"]):
        np.testing.assert_array_equal(rows(decoder, [PROMPTS[0], *others], 8, **options)[0], together[0])


def test_texts_that_are_written_at_the_same_time_do_not_take_each_others_numbers():
    decoder, rng = model(), RNG(5)
    one, two = (generate(decoder, b"abc", 8, rng, temperature=1.0) for _ in range(2))
    mixed = [pair for pair in zip(one, two, strict=True)]
    rng = RNG(5)
    for turn, text in enumerate(zip(*mixed, strict=True)):
        assert [*text] == [*generate(decoder, b"abc", 8, rng, temperature=1.0)], turn


def test_a_prefix_is_drawn_as_its_text_is():
    decoder = model()
    prefix = Prefix.read(decoder, b"ab", GrowingCache)
    for options in ({"temperature": 0.7}, {"temperature": 1.3, "top_k": 3}, {"temperature": 1.3, "top_p": 0.5}):
        assert [*prefix.generate(b"c", 12, RNG(2), **options)] == [*generate(decoder, b"abc", 12, RNG(2), **options)]


WAYS = {
    "generate": lambda decoder, n, **o: np.array([next(generate(decoder, b"\1", 1, rng, **o)) for rng in RNG(0).spawn(n)]),
    "cached": lambda decoder, n, **o: np.array([next(generate(decoder, b"\1", 1, rng, cache=GrowingCache, **o)) for rng in RNG(0).spawn(n)]),
    "batch": lambda decoder, n, **o: next(generate_batch(decoder, [b"\1"] * n, 1, RNG(0), **o)),
    "prefix": lambda decoder, n, **o: np.array([next(Prefix.read(decoder, b"\1", GrowingCache).generate(b"\1", 1, rng, **o))
                                                for rng in RNG(0).spawn(n)]),
    "speculate": lambda decoder, n, **o: np.array([next(speculate(decoder, model(9, vocab=8, layers=1), b"\1", 2, rng, ahead=1,
                                                                 cache=GrowingCache, **o)) for rng in RNG(0).spawn(n)]),
}
OPTIONS = ({"temperature": 1.0}, {"temperature": 4.0}, {"temperature": 4.0, "top_k": 2}, {"temperature": 4.0, "top_p": 0.6},
           {"temperature": 4.0, "top_k": 3, "top_p": 0.75})
SPIKY = {"seed": 10, "factor": 16.0, "vocab": 8, "layers": 1}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_every_option_of_sampling_is_obeyed(way, options):
    """The first token of many texts has the shares that `probabilities` gives: within five deviations, and none elsewhere."""
    decoder, n = model(**SPIKY), 300
    text = np.array([[1, 1]] if way == "prefix" else [[1]])
    share = probabilities(decoder(text)[0, -1], **options)
    found = np.bincount(WAYS[way](decoder, n, **options), minlength=8) / n
    assert (found[share == 0] == 0).all()
    assert (np.abs(found - share) <= 5 * np.sqrt(share * (1 - share) / n)).all()


def test_the_options_differ_so_that_each_would_be_missed():
    decoder, n = model(**SPIKY), 300
    for text in ([[1]], [[1, 1]]):
        shares = [probabilities(decoder(np.array(text))[0, -1], **options) for options in OPTIONS]
        for i, one in enumerate(shares):
            for other in shares[:i]:
                far = (np.abs(one - other) > 5 * (np.sqrt(one * (1 - one) / n) + np.sqrt(other * (1 - other) / n))).any()
                never = max(other[one == 0].sum(), one[other == 0].sum())  # tokens that may not come, 300 times
                assert far or never > 0.05


def test_the_draft_is_sampled_with_the_same_options():
    """A draft that proposes what the decoder never says would be found out by its proposals alone: they are all rejected."""
    decoder, calls = model(**SPIKY), []

    class Counted:
        embedding, blocks = decoder.embedding, decoder.blocks

        def __call__(self, tokens, **options):
            calls.append(tokens.shape[1])
            return decoder(tokens, **options)

    for options in OPTIONS[2:]:
        calls.clear()
        list(speculate(Counted(), decoder, b"\1", 30, RNG(4), ahead=5, cache=GrowingCache, **options))
        assert len(calls) == 5, options  # the decoder's own proposals are all accepted, six tokens a round


REFUSED = [
    ({"temperature": -1.0}, ValueError, "temperature"), ({"temperature": float("nan")}, ValueError, "temperature"),
    ({"temperature": 1.0, "top_k": 0}, ValueError, "top_k"), ({"temperature": 1.0, "top_p": 0.0}, ValueError, "top_p"),
    ({"temperature": 1.0, "top_p": 1.5}, ValueError, "top_p"), ({"temperature": 1.0, "rng": None}, TypeError, "rng.*NoneType"),
    ({"temperature": 1.0, "rng": np.random.RandomState(0)}, TypeError, "rng.*RandomState"), ({"temperature": 1.0, "rng": 7}, TypeError, "rng.*int"),
]


@pytest.mark.parametrize(("given", "error", "words"), REFUSED)
def test_options_of_sampling_are_refused_at_the_call(given, error, words):
    decoder, given = model(), dict(given)
    rng = given.pop("rng", RNG(0))
    prefix = Prefix.read(decoder, b"a", GrowingCache)
    for call in (lambda: generate(decoder, b"a", 2, rng, **given), lambda: generate_batch(decoder, [b"a"], 2, rng, **given),
                 lambda: prefix.generate(b"a", 2, rng, **given),
                 lambda: speculate(decoder, decoder, b"a", 2, rng, cache=GrowingCache, **given)):
        with pytest.raises(error, match=words):
            call()


@pytest.mark.parametrize(("pages", "call"), [
    (2 * 8, lambda decoder, cache: generate(decoder, b"0123456789", 20, cache=cache)),  # 29 tokens in each of two layers
    (2 * (5 + 2), lambda decoder, cache: generate_batch(decoder, [b"0123456789", b"0"], 8, cache=cache)),  # 17 and 8
    (2 * 2 * 4, lambda decoder, cache: speculate(decoder, decoder, b"0123456789", 5, cache=cache)),  # 14, in both models
], ids=["generate", "batch", "speculate"])
def test_a_pool_that_all_layers_share_has_room_for_all_of_them(pages, call):
    decoder = model()
    assert [*call(decoder, PagePool(pages, 4).sequence)]
    with pytest.raises(ValueError, match=f"need {pages} more pages of a pool in all its caches, got {pages - 1} free ones"):
        call(decoder, PagePool(pages - 1, 4).sequence)


def test_room_is_asked_before_the_first_token():
    decoder = model()
    small = PagePool(8, 4)
    prefix = Prefix.read(decoder, b"0123456789", PagePool(6, 4).sequence)  # 3 pages in each layer, the last of them shared then
    for call in (lambda: generate(decoder, b"0123456789", 20, cache=small.sequence), lambda: prefix.generate(b"0", 1),
                 lambda: generate_batch(decoder, [b"0123456789"] * 2, 4, cache=small.sequence),
                 lambda: beam_search(decoder, b"0123456789", 8, beams=3, cache=small.sequence),
                 lambda: speculate(decoder, decoder, b"0123456789", 6, cache=small.sequence),
                 lambda: prefix.extended(b"0"), lambda: Prefix.read(decoder, b"0" * 17, small.sequence)):
        with pytest.raises(ValueError, match="more pages of a pool in all its caches"):
            call()
        assert small.free_pages == 8


@pytest.mark.parametrize("beams", [1, 3])
def test_beams_have_room_for_the_pages_that_they_do_not_share(beams):
    decoder, pages = model(), 2 * (2 + beams * 3)  # 10 tokens of the prompt fill two pages that all beams share; 20 in all
    want = beam_search(decoder, b"0123456789", 11, beams=beams).tokens
    np.testing.assert_array_equal(beam_search(decoder, b"0123456789", 11, beams=beams, cache=PagePool(pages, 4).sequence).tokens, want)
    with pytest.raises(ValueError, match=f"need {pages} more pages"):
        beam_search(decoder, b"0123456789", 11, beams=beams, cache=PagePool(pages - 1, 4).sequence)


@pytest.mark.parametrize(("caches", "words"), [
    (lambda: [GrowingCache()] * 2, "expected 2, one for each layer, each its own, got one object twice"),
    (lambda: [GrowingCache() for _ in range(5)], "expected 2.*got 5"), (lambda: [GrowingCache()], "expected 2.*got 1"), (list, "expected 2.*got 0"),
])
def test_a_decoder_has_one_cache_for_each_layer(caches, words):
    given = caches()
    with pytest.raises(ValueError, match=f"caches: {words}"):
        model()(np.array([[1, 2]]), caches=given)
    assert [cache.length for cache in given] == [0] * len(given)


@pytest.mark.parametrize(("cache", "error", "words"), [
    ((lambda one: lambda: one)(FixedCache(64)), ValueError, "cache: expected 2 caches.*the same one again"),
    (GrowingCache(), TypeError, "cache: expected a function that makes a cache.*got GrowingCache"),
    (dict, TypeError, "cache: expected a function that makes a cache, got one that gives a dict"),
])
def test_what_makes_no_caches_of_their_own_is_refused(cache, error, words):
    decoder = model()
    for call in (lambda: generate(decoder, b"a", 2, cache=cache), lambda: beam_search(decoder, b"a", 2, beams=2, cache=cache),
                 lambda: speculate(decoder, decoder, b"a", 2, cache=cache), lambda: Prefix.read(decoder, b"a", cache)):
        with pytest.raises(error, match=words):
            call()
    with pytest.raises(TypeError, match="caches: expected a list of 2"):
        decoder(np.array([[1]]), caches=GrowingCache())
