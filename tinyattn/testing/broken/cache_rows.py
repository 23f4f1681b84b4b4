"""Faults in which tokens belong to which row, and which of them are forgotten."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.caches import BatchCache, CrossCache, EvictingCache, GrowingCache, SharedCache, SnapKV
from tinyattn.caches.policies import HeavyHitters
from tinyattn.caches.tape import Tapes
from tinyattn.ops.masks import causal_top_left
from tinyattn.ops.types import Array
from tinyattn.testing.broken.cache import cache_twin


@cache_twin("rows_are_alone", row="BatchCache")
class padding_is_stored(BatchCache):
    """Padding is appended like tokens, and rows read it."""

    def _counts(self, lengths: Any, rows: int, n: int) -> Array:
        return np.full(rows, n, np.int64)


@cache_twin("rows_are_alone", row="BatchCache")
class padding_on_the_right_alone(BatchCache):
    """Padding is assumed to be on the right, wherever it is."""

    def _own(self, count: int, n: int) -> slice:
        return slice(0, count)


@cache_twin("a_memory_is_read_whole", row="CrossCache")
class memory_under_the_decoders_mask(CrossCache):
    """The decoder's causal mask is applied to the memory: early queries do not see all of it."""

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        self._steps = getattr(self, "_steps", 0) + 1
        seen = np.broadcast_to(np.arange(held.length) < self._steps, (q.shape[-2], held.length))
        return super()._attended(q, held, {**options, "mask": seen})


@cache_twin("readers_read_what_is_kept", row="SharedCache")
class reader_a_chunk_behind(SharedCache):
    """The reading layer takes its keys before the source has stored the chunk."""

    def __init__(self, source: Any = None) -> None:
        super().__init__(GrowingCache() if source is None else source)
        self._length = 0

    def step(self, q: Array, k: Array | None = None, v: Array | None = None, **options: Any) -> Array:
        """Returns the output of queries for the keys of the step before."""
        past, self._length = self._length, self.length
        keys, values, _ = self.view()
        if past:
            keys, values = keys[..., :past, :], values[..., :past, :]
        return self.source.mechanism(q, keys, values, mask=causal_top_left(q.shape[-2], keys.shape[-2]), **options)  # type: ignore[attr-defined]


class LastQuery(HeavyHitters):
    """A policy that forgets by the weights of the last query alone."""

    def kept(self, weights: Array, mass: Array, *, first: bool) -> Array | None:
        """Returns all tokens but the one with the least weight in the last query."""
        return super().kept(weights, weights[..., -1:, :].sum(axis=-2), first=first)


@cache_twin("cached_is_full", row="EvictingCache")
class weighed_by_the_last_query(EvictingCache):
    """The token with the least weight in the last query is dropped, instead of the least total weight."""

    def __init__(self, policy: Any) -> None:
        super().__init__(LastQuery(policy.heavy, policy.recent))


@cache_twin("cached_is_full", "cached_one_by_one", row="EvictingCache")
class newest_not_kept(EvictingCache):
    """All tokens compete, also the newest, which few queries have had time to read."""

    def __init__(self, policy: Any) -> None:
        super().__init__(HeavyHitters(policy.heavy + policy.recent, 0))


@cache_twin("a_prompt_is_voted_on", row="EvictingCache, SnapKV")
class votes_not_pooled(EvictingCache):
    """Single tokens are kept without their neighbours."""

    def __init__(self, policy: Any) -> None:
        super().__init__(SnapKV(policy.budget, policy.window, 1))


@cache_twin("a_prompt_is_voted_on", row="EvictingCache, SnapKV")
class decoded_tokens_forgotten(EvictingCache):
    """The budget also holds after the prompt: decoded tokens push others out."""

    def _taken(self, held: Any, *arrays: Any) -> tuple[Array, Any]:
        return super()._taken(held._replace(length=0) if held.length else held, *arrays)
