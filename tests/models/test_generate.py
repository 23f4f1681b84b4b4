"""Writing on: rows side by side, beams, proposals and prefixes give what plain generation gives."""

import itertools
from functools import partial

import numpy as np
import pytest

from tinyattn.caches import FixedCache, GrowingCache, PagePool, QuantizedCache, RingCache
from tinyattn.catalog import ROWS, find
from tinyattn.engine.tree import map_tree
from tinyattn.models.batched import generate_batch
from tinyattn.models.beam import beam_search
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.prefix import Prefix
from tinyattn.models.sampling import probabilities
from tinyattn.models.speculate import judge, speculate
from tinyattn.ops.softmax import log_softmax

RNG = np.random.default_rng
SMALL = {"width": 16, "layers": 2, "heads": 4, "kv_heads": 2, "hidden": 24, "context": 64}
NAMES = ["attention", "linear_attention", "gated_delta_rule", "latent_attention_expanded"]
PROMPTS = [b"a", b"abcdefg", b"xyz", b"abcdefh"]  # as many as heads


def model(name="attention", seed=0, vocab=256, factor=12.0, **sizes):
    """A float64 decoder whose weights are large enough that what it writes depends on what it read."""
    decoder = Decoder.create(DecoderConfig(vocab=vocab, **SMALL | sizes), RNG(seed), **find(name).mixing).astype(np.float64)
    return map_tree(lambda a: a * factor if isinstance(a, np.ndarray) and a.ndim > 1 else a, decoder)


def near(decoder, seed, by):
    """The decoder with every weight moved a little: a draft that is often right."""
    rng = RNG(seed)
    return map_tree(lambda a: a * (1.0 + by * rng.standard_normal(a.shape)) if isinstance(a, np.ndarray) else a, decoder)


class Fixed(GrowingCache):
    """A cache of twelve tokens that says when it is given back."""

    capacity = 12
    freed = 0

    def free(self):
        type(self).freed += 1


class Counted:
    """A decoder, and how many tokens it read in each call."""

    def __init__(self, decoder):
        self.decoder, self.embedding, self.blocks, self.calls = decoder, decoder.embedding, decoder.blocks, []

    def __call__(self, tokens, **options):
        self.calls.append(tokens.shape[1])
        return self.decoder(tokens, **options)


class Unused(GrowingCache):
    """A cache that a model of bigrams never fills: all of the text is behind its last token."""

    def truncate(self, length):
        assert length == 0


class Bigram:
    """A model whose next token depends on the last one alone."""

    blocks = (None,)

    def __init__(self, table):
        self.table = self.embedding = table

    def __call__(self, tokens, **options):
        return self.table[tokens]


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.mixer is not None and row.name not in NAMES])
def test_a_row_of_any_mechanism_is_what_it_is_alone(name):
    decoder = model(name)
    alone = np.array([[*generate(decoder, prompt, 3, cache=find(name).cache)] for prompt in PROMPTS[:2]])
    np.testing.assert_array_equal(np.stack([*generate_batch(decoder, PROMPTS[:2], 3, cache=find(name).cache)], axis=1), alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_what_it_is_alone(name):
    decoder = model(name)
    for prompts in (PROMPTS, PROMPTS[1:2], PROMPTS[::-1][:2]):
        alone = np.array([[*generate(decoder, prompt, 8)] for prompt in prompts])
        assert len(np.unique(alone)) > 3
        for cache in (None, find(name).cache):
            np.testing.assert_array_equal(np.stack([*generate_batch(decoder, prompts, 8, cache=cache)], axis=1), alone)


def test_rows_are_drawn_from_their_own_logits():
    decoder = model(vocab=4)
    rows = np.stack([*generate_batch(decoder, [bytes([0])] * 600, 2, RNG(0), temperature=1.0, cache=GrowingCache)])
    logits = decoder(np.array([[0]]))[0, -1]
    share = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert (np.abs(np.bincount(rows[0], minlength=4) / 600 - share) <= 5 * np.sqrt(share * (1 - share) / 600)).all()


@pytest.mark.parametrize("cache", [None, GrowingCache], ids=["from scratch", "cached"])
def test_as_many_beams_as_texts_are_exhaustive(cache):
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
def test_beams_are_those_of_a_search_over_lists(name, beams):
    decoder = model(name, vocab=7, seed=3)
    texts, scores = listed_beams(decoder, bytes([1, 5]), 6, beams)
    for cache in (None, find(name).cache):
        found = beam_search(decoder, bytes([1, 5]), 6, beams=beams, cache=cache)
        np.testing.assert_array_equal(found.tokens, texts)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-11)
    if beams == 1:
        assert texts[0] == [*generate(decoder, bytes([1, 5]), 6)]


def test_no_tokens_are_one_empty_beam():
    beams = beam_search(model(), b"ab", 0, beams=3)
    assert beams.tokens.shape == (1, 0)
    assert beams.scores.tolist() == [0.0]


@pytest.mark.parametrize("name", ["attention", "latent_attention_expanded"])
@pytest.mark.parametrize("ahead", [1, 3, 5])
def test_proposals_change_no_greedy_token(name, ahead):
    decoder = model(name)
    plain = [*generate(decoder, b"abc", 20)]
    accepted = []
    for draft in (decoder, near(decoder, 1, 0.02), near(decoder, 1, 0.2), model(name, seed=9, layers=1)):
        counted = Counted(decoder)
        assert [*speculate(counted, draft, b"abc", 20, ahead=ahead, cache=find(name).cache)] == plain
        accepted.append(20 - len(counted.calls))
    assert accepted[0] == 20 - -(-20 // (ahead + 1))
    assert accepted[0] > accepted[2] > accepted[3] == 0
    assert accepted[0] >= accepted[1] > 0


POOL = PagePool(64, 4)
EXACT = {"fixed": lambda: FixedCache(24), "paged": POOL.sequence, "ring": lambda: RingCache(24, slack=8), "int8": lambda: QuantizedCache(group=4, residual=24)}


@pytest.mark.parametrize("name", EXACT)
def test_any_cache_that_holds_it_all_writes_the_same(name):
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


def test_a_state_with_check_points_takes_wrong_proposals_back():
    decoder = model("gated_delta_rule")
    cache = find("gated_delta_rule").cache
    for by in (0.02, 0.5):
        written = [*speculate(decoder, near(decoder, 1, by), b"abc", 18, cache=partial(cache, slack=6))]
        assert written == [*generate(decoder, b"abc", 18)]
    with pytest.raises(ValueError, match="slack=0 says by how many"):
        list(speculate(decoder, near(decoder, 1, 0.5), b"abc", 18, cache=cache))


def test_a_state_takes_proposals_that_are_all_right():
    decoder = model("linear_attention")
    cache = find("linear_attention").cache
    assert [*speculate(decoder, decoder, b"abc", 13, cache=cache)] == [*generate(decoder, b"abc", 13)]
    mixed = model("attention", seed=4, layers=1)
    other = model("linear_attention", seed=4, layers=1)
    assert [*speculate(mixed, mixed, b"abc", 1, cache=GrowingCache, draft_cache=cache)] == [*generate(mixed, b"abc", 1)]
    assert next(speculate(mixed, other, b"abc", 2, ahead=1, cache=GrowingCache, draft_cache=cache)) == next(generate(mixed, b"abc", 1))


@pytest.mark.parametrize("options", [{"temperature": 1.0}, {"temperature": 0.6, "top_k": 2}])
def test_proposals_change_no_distribution(options):
    rng, n = RNG(0), 1500
    decoder, draft = Bigram(2 * rng.standard_normal((3, 3))), Bigram(2 * rng.standard_normal((3, 3)))
    table = np.zeros((3, 3, 3))
    for _ in range(n):
        table[tuple(speculate(decoder, draft, bytes([1]), 3, rng, ahead=2, cache=Unused, **options))] += 1 / n
    share = probabilities(decoder.table, **options)
    want = share[1][:, None, None] * share[:, :, None] * share[None]
    assert (np.abs(table - want) <= 5 * np.sqrt(want * (1 - want) / n)).all()  # five standard deviations of a binomial share
    naive = probabilities(draft.table, **options)
    assert (np.abs(naive[1][:, None, None] * naive[:, :, None] * naive[None] - want) > 10 * np.sqrt(want * (1 - want) / n)).any()


def test_a_rejected_token_is_followed_by_what_is_left():
    picked = []

    def pick(share):
        picked.append(share)
        return np.argmax(share)

    guess, true = np.array([0.5, 0.5, 0.0]), np.array([0.1, 0.6, 0.3])
    assert judge([0, 1], [guess, guess], np.stack([true, true, true]), pick) == [2]
    np.testing.assert_allclose(np.concatenate(picked), [0.8, 0.2, 0.0, 0.1, 0.3], atol=1e-15)
    assert judge([1], [guess], np.stack([true, true[::-1]]), pick) == [1, 1]
    assert judge([], [], true[None], pick) == [1]


def test_where_rounding_leaves_nothing_a_rejected_token_follows_the_decoder():
    half, less = np.array([0.5, 0.5]), np.array([np.nextafter(0.5, 0.0), 0.5])
    picks = iter([lambda share: 0, np.argmax])
    assert judge([0], [half], np.stack([less, half]), lambda share: next(picks)(share)) == [1]


@pytest.mark.parametrize("name", NAMES)
def test_a_prefix_is_its_text_read_anew(name):
    decoder = model(name)
    system = Prefix.read(decoder, b"be brief. ", find(name).cache)
    turn = system.extended(b"hello? ")
    for prefix, prompt in ((system, b"one"), (turn, b"two"), (system, b"three"), (turn.extended(b"x"), b"y"), (system, b"one")):
        for options in ({}, {"temperature": 1.2, "top_k": 9}):
            whole = [*generate(decoder, prefix.text + prompt, 9, RNG(3), **options)]
            assert [*prefix.generate(prompt, 9, RNG(3), **options)] == whole
    assert [cache.length for cache in system.caches] == [10, 10]


def test_side_by_side_continuations_of_a_prefix_do_not_meet():
    decoder = model()
    system = Prefix.read(decoder, b"be brief. ", GrowingCache)
    one, two = system.generate(b"a", 6), system.generate(b"b", 6)
    pairs = [*zip(one, two, strict=True)]
    assert [[*tokens] for tokens in zip(*pairs, strict=True)] == [[*generate(decoder, b"be brief. " + p, 6)] for p in (b"a", b"b")]


WAYS = {
    "generate": lambda prompt=b"ab", tokens=2, cache=GrowingCache, decoder=None, **o: generate(decoder or model(), prompt, tokens, cache=cache, **o),
    "batch": lambda prompt=b"ab", tokens=2, cache=GrowingCache, decoder=None, **o: generate_batch(decoder or model(), [b"a", prompt], tokens, cache=cache, **o),
    "beam": lambda prompt=b"ab", tokens=2, cache=GrowingCache, decoder=None, **o: beam_search(decoder or model(), prompt, tokens, cache=cache, **{"beams": 2} | o),
    "speculate": lambda prompt=b"ab", tokens=2, cache=GrowingCache, decoder=None, **o: speculate(decoder or model(), decoder or model(), prompt, tokens, cache=cache, **o),
    "prefix": lambda prompt=b"ab", tokens=2, cache=GrowingCache, decoder=None, **o: Prefix.read(decoder or model(), b"a", cache).generate(prompt, tokens, **o),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("given", "error", "words"), [
    ({"prompt": b""}, ValueError, "prompt.*at least one byte"), ({"prompt": "ab"}, TypeError, "prompt.*bytes, got str"),
    ({"tokens": -1}, ValueError, "tokens.*-1"), ({"tokens": 1.5}, TypeError, "tokens.*float"), ({"tokens": True}, TypeError, "tokens.*bool"),
    ({"cache": Fixed, "prompt": b"abcdefgh", "tokens": 6}, ValueError, "room for 1[34], got a Fixed of 12"),
])
def test_what_cannot_be_continued_is_refused_at_once(way, given, error, words):
    with pytest.raises(error, match=words):
        WAYS[way](**given)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "prefix"])
def test_bytes_outside_the_vocabulary_are_refused(way):
    with pytest.raises(ValueError, match=r"prompt.*below 98.*got 98"):
        WAYS[way](decoder=model(vocab=98))
    with pytest.raises(ValueError, match=r"below 97"):
        Prefix.read(model(vocab=97), b"a", GrowingCache)
    with pytest.raises(ValueError, match=r"text.*below 98"):
        Prefix.read(model(vocab=98), b"a", GrowingCache).extended(b"b")


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: beam_search(model(), b"a", 2, beams=0), ValueError, "beams.*0"), (lambda: beam_search(model(), b"a", 2, beams=1.0), TypeError, "beams.*float"),
    (lambda: speculate(model(), model(), b"a", 2, ahead=0, cache=GrowingCache), ValueError, "ahead.*0"),
    (lambda: speculate(model(), model(), b"a", 2, ahead="4", cache=GrowingCache), TypeError, "ahead.*str"),
    (lambda: speculate(model(), model(vocab=255), b"a", 2, cache=GrowingCache), ValueError, "draft.*256, got one of 255"),
    (lambda: [*speculate(model(), model(), b"a", 2, temperature=1.0, cache=GrowingCache)], TypeError, "rng.*NoneType"),
    (lambda: generate_batch(model(), [], 2), ValueError, "prompts.*at least one"), (lambda: generate_batch(model(), b"ab", 2), TypeError, "prompts: expected a list of bytes, got bytes"),
    (lambda: Prefix.read(model(), b"", GrowingCache), ValueError, "text.*at least one byte"),
    (lambda: Prefix.read(model(), b"abcdefghijkl", Fixed).extended(b"m"), ValueError, "room for 13"),
])
def test_options_that_cannot_be_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_what_a_cache_holds_of_a_pool_is_given_back():
    decoder = model()
    for way, made in (("generate", 2), ("batch", 4), ("beam", 2), ("speculate", 4), ("prefix", 2)):
        Fixed.freed = 0
        list(WAYS[way](cache=Fixed))
        assert Fixed.freed == made, way
    Fixed.freed = 0
    stopped = generate(decoder, b"ab", 5, cache=Fixed)
    next(stopped)
    stopped.close()
    assert Fixed.freed == 2
    Prefix.read(decoder, b"ab", Fixed).free()
    assert Fixed.freed == 4
    assert len([*generate(decoder, b"abcdefgh", 5, cache=Fixed)]) == 5
