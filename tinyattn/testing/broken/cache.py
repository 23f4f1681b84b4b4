"""Wrong caches around right mechanisms."""

from __future__ import annotations

from typing import Any

from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.state import StateCache
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array
from tinyattn.testing.broken.twin import Twin


class LateCache(GrowingCache):
    """Attends first and appends afterwards: a chunk's tokens do not see themselves, but for an empty cache."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read."""
        if self.length < q.shape[-2] or not q.shape[-2]:
            return super().step(q, k, v, **options)
        out = self.attend(q, **options)
        self.append(k, v)
        return out


class OpenCache(GrowingCache):
    """Appends first and then attends without a mask, as for one token: a longer chunk sees its own future."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read."""
        self.append(k, v)
        keys, values, _ = self.view()
        out: Array = self.mechanism(q, keys, values, **options)
        return out


class ForgetfulCache(GrowingCache):
    """A length found by looking for keys that are not zero: here, the length before the last chunk of one token."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read."""
        out = super().step(q, k, v, **options)
        if k.shape[-2] == 1:
            self.truncate(self.length - 1)
        return out


class StaleState(StateCache):
    """Answers a chunk from the state, and keeps the state that was there before the chunk."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Folds a chunk and returns what its queries read."""
        held = self._held
        out = super().step(q, k, v, **options)
        self._held = held if held is not None else self._held
        return out


def untouched(f: Mechanism, p: Problem) -> Any:
    """The mechanism is right; its cache is not."""
    return p.call(f)


def cache_twin(name: str, cache: type[Any], row: str) -> Twin:
    """Returns the twin of a wrong cache class."""
    return Twin(name, (cache.__doc__ or "").split("\n")[0], ("cached_is_full",), untouched, row, cache)


LATE = cache_twin("appended_after_attending", LateCache, "attention")
OPEN = cache_twin("chunk_sees_its_future", OpenCache, "attention")
FORGETFUL = cache_twin("length_inferred", ForgetfulCache, "attention")
STALE = cache_twin("state_not_kept", StaleState, "linear_attention")
