"""What cannot be written on is refused at once and by name, and what a cache holds of a pool is given back."""

import numpy as np
import pytest

from tinyattn.caches import GrowingCache
from tinyattn.models.batched import generate_batch
from tinyattn.models.beam import beam_search
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.prefix import Prefix
from tinyattn.models.speculate import speculate


def model(vocab=256):
    return Decoder.create(DecoderConfig(vocab=vocab, width=16, layers=2, heads=4, kv_heads=2, hidden=24, context=64), np.random.default_rng(0))


class Fixed(GrowingCache):
    """A cache of twelve tokens that says when it is given back."""

    capacity = 12
    freed = 0

    def free(self):
        type(self).freed += 1


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
