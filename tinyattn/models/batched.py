"""Prompts of different lengths, continued side by side: one pass over the weights for all of them, one cache a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinyattn.caches.protocol import Cache
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import check_prompt, check_tokens, make_caches, release
from tinyattn.models.sampling import sample
from tinyattn.ops.types import Array

# What a layer gives its cache with the tokens and that is the same for all rows, besides what has too few axes to be a token's.
SHARED = ("w_uk", "w_uv")


def generate_batch(decoder: Decoder, prompts: Sequence[bytes], tokens: int, rng: np.random.Generator | None = None, *,
                   temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
                   cache: Callable[[], Cache] | None = None) -> Iterator[Array]:
    """Yields `tokens` arrays (rows,): the next byte of every prompt; each row is what it would be alone.

    Shorter prompts are padded on the right, where causal attention never looks. `cache` makes one cache a layer and row, so
    that no row holds another's padding; without it every token is computed from the whole texts.

    Raises:
        TypeError, ValueError: no prompts; otherwise as `generate`.
    """
    texts = [check_prompt(decoder, prompt, f"prompts[{row}]")[0] for row, prompt in enumerate(prompts)]
    check_tokens(tokens)
    if not texts:
        raise ValueError("prompts: expected at least one")
    lengths = np.array([len(text) for text in texts])
    padded = np.stack([np.pad(text, (0, lengths.max() - len(text))) for text in texts])
    rows = None if cache is None else [make_caches(decoder, cache, len(text) + tokens - 1) for text in texts]
    choose = partial(sample, rng=rng, temperature=temperature, top_k=top_k, top_p=top_p)
    return write_rows(decoder, padded, lengths, tokens, choose, rows)


def write_rows(decoder: Decoder, fresh: Array, lengths: Array, tokens: int, choose: Callable[[Array], Array],
               caches: Sequence[Sequence[Cache]] | None) -> Iterator[Array]:
    """Yields the tokens (rows,) that follow texts (rows, longest) of these lengths; caches[row][layer] are empty."""
    rows, held = np.arange(len(lengths)), np.zeros_like(lengths)
    try:
        for _ in range(tokens):
            counts = lengths - held
            layers = None if caches is None else [Rows(layer, counts.tolist()) for layer in zip(*caches, strict=True)]
            positions = held[:, None] + np.arange(fresh.shape[1])
            chosen = choose(decoder(fresh, caches=layers, positions=positions)[rows, counts - 1])
            yield chosen
            if caches is None:
                fresh = np.pad(fresh, ((0, 0), (0, 1)))
                fresh[rows, lengths] = chosen
            else:
                fresh, held = chosen[:, None], lengths
            lengths = lengths + 1
    finally:
        for row in caches or ():
            release(row)


@dataclass(frozen=True)
class Rows:
    """The caches of one layer, one a row, behind one `step`: of a chunk padded on the right, row i takes counts[i] tokens."""

    caches: Sequence[Cache]
    counts: Sequence[int]

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return max(cache.length for cache in self.caches)

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Returns what each row's queries read, and 0 behind its tokens."""
        outs = []
        for row, (cache, count) in enumerate(zip(self.caches, self.counts, strict=True)):
            given = {name: x if name in SHARED or np.ndim(x) < q.ndim - 1 else own(x, row, count, -2 if x.ndim == q.ndim else -1)
                     for name, x in options.items()}
            out = cache.step(*(own(x, row, count, -2) for x in (q, k, v)), **given)
            outs.append(np.pad(out, [(0, 0)] * (out.ndim - 2) + [(0, q.shape[-2] - count), (0, 0)]))
        return np.concatenate(outs)


def own(x: Array, row: int, count: int, axis: int) -> Array:
    """Returns row `row` of x and of its tokens, which stand on this axis (-1 or -2), the first `count`."""
    return x[row : row + 1, ..., :count] if axis == -1 else x[row : row + 1, ..., :count, :]
