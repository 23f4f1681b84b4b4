"""Continuing a text token by token, through caches or by computing the whole text again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from tinyattn.caches.protocol import Cache
from tinyattn.caches.room import check_room
from tinyattn.caches.rows import release
from tinyattn.models.decoder import Decoder
from tinyattn.models.given import check_given
from tinyattn.models.sampling import check_drawing, check_options, sample
from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array


def generate(decoder: Decoder, prompt: bytes, tokens: int, rng: np.random.Generator | None = None, *,
             temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
             cache: Callable[[], Cache] | None = None) -> Iterator[int]:
    """Yields `tokens` bytes that continue the prompt; greedy at temperature 0.

    `cache` makes one cache per layer, such as GrowingCache; without it every token is computed from the whole text.

    Above temperature 0 random numbers come from a Generator of its own, spawned from `rng`: the bytes do not depend on what
    else is generated with `rng` at the same time.

    Raises:
        TypeError, ValueError: a prompt that is not bytes, is empty or lies outside the vocabulary, tokens below 0 or more
            than the caches have room for, no Generator where one is needed, options out of range.

    >>> from tinyattn.caches import GrowingCache
    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> [*generate(decoder, b"ab", 3, cache=GrowingCache)] == [*generate(decoder, b"ab", 3)]
    True
    """
    written = check_prompt(decoder, prompt)
    tokens = whole("tokens", tokens, 0)
    caches = None if cache is None else make_caches(decoder, cache, written.shape[1] + tokens - 1)
    choose, = choosers(rng, 1, temperature, top_k, top_p)
    return write_on(decoder, written, tokens, choose, caches)


def choosers(rng: np.random.Generator | None, count: int, temperature: float, top_k: int | None,
             top_p: float | None) -> list[Callable[[Array], Array]]:
    """Returns for each of `count` texts the function that chooses its next token from logits (1, vocab).

    Above temperature 0 each draws from a Generator of its own, spawned from `rng`, so that texts that are written side by side
    are the same as texts that are written one after the other.

    Raises:
        TypeError: no Generator, or one that cannot spawn others. ValueError: options of sampling out of range.
    """
    check_options(temperature, top_k, top_p)
    check_drawing(rng, temperature)
    try:
        streams = rng.spawn(count) if rng is not None and temperature != 0.0 else [None] * count
    except TypeError:
        raise TypeError("rng: expected a Generator that spawns others, as np.random.default_rng(seed) does") from None
    return [partial(sample, rng=stream, temperature=temperature, top_k=top_k, top_p=top_p) for stream in streams]


def write_on(decoder: Decoder, text: Array, tokens: int, choose: Callable[[Array], Array], caches: Sequence[Cache] | None,
             ) -> Iterator[int]:
    """Yields the tokens that `choose` takes from the logits, one by one; text (1, length) follows the tokens that the caches hold.

    When all tokens are written, or the caller stops, the caches give their pages back to the pool.
    """
    try:
        for _ in range(tokens):
            fresh = choose(decoder(text, caches=caches)[:, -1])[:, None]
            text = np.concatenate((text, fresh), axis=1) if caches is None else fresh
            yield int(fresh[0, 0])
    finally:
        release(caches or ())


def make_caches(decoder: Decoder, cache: Callable[[], Cache], length: int) -> list[Cache]:
    """Returns one cache per layer; ValueError if they have no room for so many tokens."""
    caches = made_by(cache, len(decoder.blocks))
    check_room((made, length) for made in caches)
    return caches


def made_by(cache: Callable[[], Cache], count: int, name: str = "cache") -> list[Cache]:
    """Returns so many caches, made by the function that makes one.

    Raises:
        TypeError: an object that is not a function, or a function that makes no cache. ValueError: one that gives the same cache
            twice.
    """
    if not callable(cache):
        raise TypeError(f"{name}: expected a function that makes a cache, as GrowingCache is one, got {type(cache).__name__}")
    caches = [cache() for _ in range(count)]
    for made in caches:
        if not hasattr(made, "step"):
            raise TypeError(f"{name}: expected a function that makes a cache, got one that gives a {type(made).__name__}")
    if len({id(made) for made in caches}) != count:
        raise ValueError(f"{name}: expected {count} caches, one per layer, each its own; the function gives the same one again")
    return caches


def check_prompt(decoder: Decoder, prompt: bytes, name: str = "prompt") -> Array:
    """Returns the bytes of a prompt as tokens (1, length)."""
    check_given("decoder", decoder, "a Decoder", "embedding", "blocks")
    if not isinstance(prompt, bytes):
        raise TypeError(f"{name}: expected bytes, got {type(prompt).__name__}")
    if not prompt:
        raise ValueError(f"{name}: expected at least one byte")
    text = np.frombuffer(prompt, np.uint8).astype(np.int64)[None, :]
    vocab = decoder.embedding.shape[0]
    if text.max() >= vocab:
        raise ValueError(f"{name}: expected bytes below {vocab}, the size of the vocabulary, got {text.max()}")
    return text
