"""Writing on: one token after the other, from caches or from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinyattn.caches.protocol import Cache
from tinyattn.models.decoder import Decoder
from tinyattn.models.sampling import sample
from tinyattn.ops.types import Array


def generate(decoder: Decoder, prompt: bytes, tokens: int, rng: np.random.Generator | None = None, *,
             temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
             cache: Callable[[], Cache] | None = None) -> Iterator[int]:
    """Yields `tokens` bytes that continue the prompt; greedy at temperature 0.

    `cache` makes one cache a layer (GrowingCache, say); without it every token is computed from the whole text.

    Raises:
        TypeError, ValueError: a prompt that is not bytes, is empty or lies outside the vocabulary, tokens below 0 or more
            than the caches hold; while it runs, as `sample`.
    """
    written = check_prompt(decoder, prompt)
    check_tokens(tokens)
    caches = None if cache is None else make_caches(decoder, cache, written.shape[1] + tokens - 1)
    return write_on(decoder, written, tokens, partial(sample, rng=rng, temperature=temperature, top_k=top_k, top_p=top_p), caches)


def write_on(decoder: Decoder, text: Array, tokens: int, choose: Callable[[Array], Array], caches: Sequence[Cache] | None,
             ) -> Iterator[int]:
    """Yields the tokens that `choose` takes from the logits, one by one; text (1, length) stands behind what the caches hold.

    When all are written, or the caller stops, the caches give back what they hold of a pool.
    """
    try:
        for _ in range(tokens):
            fresh = choose(decoder(text, caches=caches)[:, -1])[:, None]
            text = np.concatenate((text, fresh), axis=1) if caches is None else fresh
            yield int(fresh[0, 0])
    finally:
        release(caches or ())


def make_caches(decoder: Decoder, cache: Callable[[], Cache], length: int) -> list[Cache]:
    """Returns one cache a layer; ValueError if they have no room for so many tokens."""
    caches = [cache() for _ in decoder.blocks]
    for made in caches:
        check_room(made, length)
    return caches


def check_room(cache: Cache, length: int) -> None:
    """Raises ValueError unless a cache has room for so many tokens in all."""
    if cache.capacity is not None and length > cache.capacity:
        raise ValueError(f"tokens: the text and what follows need room for {length}, got a {type(cache).__name__} of {cache.capacity}")


def release(caches: Sequence[Any]) -> None:
    """Gives back what caches hold of a pool that others share; most hold nothing of one."""
    for cache in caches:
        if hasattr(cache, "free"):
            cache.free()


def check_prompt(decoder: Decoder, prompt: bytes, name: str = "prompt") -> Array:
    """Returns the bytes of a prompt as tokens (1, length)."""
    if not isinstance(prompt, bytes):
        raise TypeError(f"{name}: expected bytes, got {type(prompt).__name__}")
    if not prompt:
        raise ValueError(f"{name}: expected at least one byte")
    text = np.frombuffer(prompt, np.uint8).astype(np.int64)[None, :]
    vocab = decoder.embedding.shape[0]
    if text.max() >= vocab:
        raise ValueError(f"{name}: expected bytes below {vocab}, the size of the vocabulary, got {text.max()}")
    return text


def check_tokens(tokens: int) -> None:
    """Raises unless a number of tokens is an int of 0 or more."""
    if isinstance(tokens, bool) or not isinstance(tokens, (int, np.integer)):
        raise TypeError(f"tokens: expected an int, got {type(tokens).__name__}")
    if tokens < 0:
        raise ValueError(f"tokens: expected 0 or more, got {tokens}")
