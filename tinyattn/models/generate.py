"""Writing on: one token after the other, from caches or from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinyattn.models.decoder import Decoder
from tinyattn.models.sampling import sample


def generate(decoder: Decoder, prompt: bytes, tokens: int, rng: np.random.Generator | None = None, *,
             temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
             cache: Callable[[], Any] | None = None) -> Iterator[int]:
    """Yields `tokens` bytes that continue the prompt; greedy at temperature 0.

    `cache` makes one cache a layer (GrowingCache, say); without it every token is computed from the whole text.

    Raises:
        ValueError: an empty prompt, or tokens below 0; otherwise as `sample`.
    """
    if not prompt:
        raise ValueError("prompt: expected at least one byte")
    if tokens < 0:
        raise ValueError(f"tokens: expected 0 or more, got {tokens}")
    written = np.frombuffer(prompt, np.uint8).astype(np.int64)[None, :]
    caches = None if cache is None else [cache() for _ in decoder.blocks]
    fresh = written
    for _ in range(tokens):
        logits = decoder(written) if caches is None else decoder(fresh, caches=caches)
        fresh = sample(logits[:, -1], rng, temperature=temperature, top_k=top_k, top_p=top_p)[:, None]
        written = np.concatenate((written, fresh), axis=1)
        yield int(fresh[0, 0])
