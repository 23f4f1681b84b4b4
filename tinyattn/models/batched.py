"""Prompts of different lengths continued side by side, with one pass over the weights for all and one cache per row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinyattn.caches.batch import BatchCache
from tinyattn.caches.protocol import Cache
from tinyattn.caches.room import check_room
from tinyattn.caches.rows import release
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import check_prompt, choosers, made_by
from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array


def generate_batch(decoder: Decoder, prompts: Sequence[bytes], tokens: int, rng: np.random.Generator | None = None, *,
                   temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
                   cache: Callable[[], Cache] | None = None) -> Iterator[Array]:
    """Yields `tokens` arrays (rows,) with the next byte of every prompt; no row depends on the others.

    Shorter prompts are padded on the right, which causal attention never sees. `cache` makes one cache per layer and row, so
    that no row stores padding; without it every token is computed from the whole texts. Above temperature 0 every row draws
    from a Generator of its own, spawned from `rng`: the rows are those that `generate` would write, called with one prompt
    after the other and the same `rng`.

    Raises:
        TypeError, ValueError: no prompts; otherwise as `generate`.

    >>> from tinyattn.caches import GrowingCache
    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> len([*generate_batch(decoder, [b"ab", b"abcd"], 3, cache=GrowingCache)])
    3
    """
    if isinstance(prompts, (str, bytes)) or not isinstance(prompts, Sequence):
        raise TypeError(f"prompts: expected a list of bytes, got {type(prompts).__name__}")
    texts = [check_prompt(decoder, prompt, f"prompts[{row}]")[0] for row, prompt in enumerate(prompts)]
    tokens = whole("tokens", tokens, 0)
    if not texts:
        raise ValueError("prompts: expected at least one")
    lengths = np.array([len(text) for text in texts])
    padded = np.stack([np.pad(text, (0, lengths.max() - len(text))) for text in texts])
    layers = None if cache is None else make_batches(decoder, cache, lengths, tokens)
    choices = choosers(rng, len(texts), temperature, top_k, top_p)

    def choose(logits: Array) -> Array:
        return np.concatenate([chosen(row[None]) for row, chosen in zip(logits, choices, strict=True)])

    return write_rows(decoder, padded, lengths, tokens, choose, layers)


def make_batches(decoder: Decoder, cache: Callable[[], Cache], lengths: Array, tokens: int) -> list[BatchCache]:
    """Returns a batch of caches per layer; ValueError if there is no room for `tokens` more tokens per prompt."""
    rows, layers = len(lengths), len(decoder.blocks)
    made = made_by(cache, rows * layers)
    check_room(zip(made, np.tile(lengths + tokens - 1, layers).tolist(), strict=True))
    return [BatchCache.of(made[layer * rows : (layer + 1) * rows], lengths) for layer in range(layers)]


def write_rows(decoder: Decoder, fresh: Array, lengths: Array, tokens: int, choose: Callable[[Array], Array],
               layers: Sequence[BatchCache] | None) -> Iterator[Array]:
    """Yields the tokens (rows,) that follow texts (rows, longest) of these lengths, none of which the caches hold yet."""
    rows, last = np.arange(len(lengths)), lengths - 1
    try:
        for _ in range(tokens):
            positions = layers[0].positions(fresh.shape[1]) if layers else None
            chosen = choose(decoder(fresh, caches=layers, positions=positions)[rows, last])
            yield chosen
            lengths = lengths + 1
            if layers is None:
                fresh, last = np.pad(fresh, ((0, 0), (0, 1))), lengths - 1
                fresh[rows, last] = chosen
            else:
                fresh, last = chosen[:, None], np.zeros_like(lengths)
    finally:
        release(layers or ())
