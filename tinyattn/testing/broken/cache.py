"""Faults in caches around right mechanisms: what is kept of a text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn.caches import GrowingCache, LatentCache, StateCache
from tinyattn.caches.chunk import Chunk
from tinyattn.caches.folded import Folded
from tinyattn.caches.tape import Tapes
from tinyattn.catalog import caches
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.masks import causal_top_left
from tinyattn.ops.types import Array
from tinyattn.testing.broken.twin import Twin


def untouched(f: Mechanism, p: Problem) -> Any:
    """Returns the mechanism's result: the mechanism is right and its cache is not."""
    return p.call(f)


def cache_twin(*killed_by: str, row: str = "GrowingCache") -> Callable[[Any], Twin]:
    """Makes a Twin of a wrong cache (a class or a function), with its name and the first sentence of its docstring."""
    def make(cache: Any) -> Twin:
        def made(*arguments: Any, **settings: Any) -> Any:
            return cache(*arguments, **{**caches.find(row).settings, **settings})

        return Twin(cache.__name__, (inspect.getdoc(cache) or "").split("\n")[0], killed_by, untouched, row, made)

    return make


@cache_twin("cached_is_full")
class appended_after_attending(GrowingCache):
    """The cache attends first and appends afterwards: the tokens of a chunk do not see themselves."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns the output of its queries."""
        if self.length < q.shape[-2] or not q.shape[-2]:
            return super().step(q, k, v, **options)
        out = self.attend(q, **options)
        self.append(k, v)
        return out


@cache_twin("cached_is_full")
class chunk_sees_its_future(GrowingCache):
    """The cache attends without a mask, as is right for one token: a longer chunk sees its own future."""

    always: Mapping[str, Any] = {"causal": False}


@cache_twin("cached_is_full")
class chunk_aligned_at_the_first_token(GrowingCache):
    """The first query of a chunk sees only the first key of the text, as in a mask made for a prompt."""

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        mask = causal_top_left(q.shape[-2], held.length)
        return super()._attended(q, held, {**options, "mask": mask})


@cache_twin("tokens_of_zeros_count")
class length_inferred(GrowingCache):
    """The length is the number of keys that are not zero: a token whose key is zero is overwritten."""

    def _appended(self, k: Array, v: Array) -> Tapes:
        if self._held is not None:
            keys = np.moveaxis(self._held.tapes["keys"].rows, -2, 0)
            self._held = self._truncated(self._held, int(keys.reshape(len(keys), -1).any(axis=-1).sum()))
        return super()._appended(k, v)


@cache_twin("cached_one_by_one", "cached_is_full")
class position_not_advanced(GrowingCache):
    """Single tokens are all written to the slot after the prompt, because the caller must advance the position."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns the output of its queries."""
        out = super().step(q, k, v, **options)
        if k.shape[-2] == 1:
            self.truncate(self.length - 1)
        return out


@cache_twin("a_fork_goes_its_own_way")
class fork_writes_on(GrowingCache):
    """A fork is a shallow copy: both write their next token to the same place of the same buffer."""

    def _forked(self) -> Tapes | None:
        return self._held


@cache_twin("drafts_leave_no_trace")
class truncation_ignored(GrowingCache):
    """Tokens are removed from the text and stay in the cache."""

    def truncate(self, length: int) -> None:
        """Does nothing."""


@cache_twin("rows_go_where_they_are_told")
class values_not_reordered(GrowingCache):
    """Beam search moves the keys and not the values."""

    def _reordered(self, held: Tapes, rows: Array) -> Tapes:
        stay = np.arange(len(rows)) % len(held.tapes["values"].rows)
        moved, kept = held.reordered(rows), held.reordered(stay)
        return kept._replace(tapes={**kept.tapes, "keys": moved.tapes["keys"]})


@cache_twin("cached_is_full", row="LatentCache")
class rotated_keys_dropped(LatentCache):
    """Only the latent is kept, and the rotated keys, which carry the positions, are lost."""

    def _appended(self, k: Array, v: Array) -> Tapes:
        return super()._appended(k, v * 0)


@cache_twin("cached_is_full", row="StateCache")
class state_not_kept(StateCache):
    """A chunk is answered from the state, and the state before the chunk is kept."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Adds a chunk to the state and returns the output of its queries."""
        held = self._held
        out = super().step(q, k, v, **options)
        if held is not None and self._held is not None:
            self._held = self._held._replace(state=held.state)
        return out


@cache_twin("cached_is_full", row="StateCache")
class chunk_begins_afresh(StateCache):
    """Chunks of several tokens start from an empty state, and only single tokens use the stored one."""

    def _run(self, q: Array, chunk: Chunk, before: Any, position: int) -> tuple[Array, Any]:
        return super()._run(q, chunk, before if chunk.k.shape[-2] == 1 else None, position)


@cache_twin("drafts_leave_no_trace", row="StateCache")
class state_not_taken_back(StateCache):
    """Truncation resets the length and leaves the removed tokens in the state."""

    def _truncated(self, held: Folded, length: int) -> Folded | None:
        cut = super()._truncated(held, length)
        return cut and cut._replace(state=held.state)
