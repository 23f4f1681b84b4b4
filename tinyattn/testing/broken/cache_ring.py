"""Faults in ring caches: which token is seen when others are forgotten."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.caches import RingCache
from tinyattn.caches.tape import Tapes
from tinyattn.ops.types import Array
from tinyattn.testing.broken.cache import cache_twin


@cache_twin("cached_is_full", row="RingCache")
class dropped_before_reading(RingCache):
    """The keys of a chunk overwrite old ones before its queries read: the first queries miss part of their window."""

    def _appended(self, k: Array, v: Array) -> Tapes:
        return self._trimmed(super()._appended(k, v))

    def _trimmed(self, held: Tapes) -> Tapes:
        return held.each(lambda tape: tape.last(self.window))

    def _check_kept(self, low: int, early: int, start: int, name: str) -> None:
        """Accepts every query, as if no token had been forgotten."""


@cache_twin("cached_is_full", "cached_one_by_one", row="RingCache")
class ring_counts_the_others(RingCache):
    """The window counts the tokens besides the query's own: one too many."""

    def __init__(self, window: int, **settings: Any) -> None:
        super().__init__(window + 1, **settings)


@cache_twin("cached_is_full", row="RingCache")
class full_ring_written_in_part(RingCache):
    """If a chunk reaches beyond the end of the full ring, only its first part is written."""

    def _trimmed(self, held: Tapes) -> Tapes:
        before = self._held
        if before is None or held.length - before.length < 2 or before.length < self.window:
            return super()._trimmed(held)
        lost = (held.length - before.length) // 2
        last = {name: held.tapes[name].without(lost).extended(held.tapes[name].rows[..., :lost, :]) for name in ("keys", "values")}
        return super()._trimmed(held._replace(tapes={**held.tapes, **last}))


@cache_twin("drafts_leave_no_trace", row="RingCache")
class slack_not_kept(RingCache):
    """Draft tokens overwrite tokens that are needed again when the drafts are removed."""

    def _trimmed(self, held: Tapes) -> Tapes:
        return held.each(lambda tape: tape.last(self.window))

    def _check_kept(self, low: int, early: int, start: int, name: str) -> None:
        """Accepts every query, as if no token had been forgotten."""


@cache_twin("cached_is_full", row="RingCache, first kept")
class first_tokens_pushed_out(RingCache):
    """The first tokens are stored in the ring like all others, and are lost when it is full."""

    def __init__(self, window: int, *, keep_first: int, **settings: Any) -> None:
        super().__init__(window, **settings)


@cache_twin("cached_is_full", row="RingCache, re-based")
class first_tokens_far_away(RingCache):
    """The first tokens keep their distance in the text, as if no token between had been forgotten."""

    def _rotated(self, q: Array, at: Array) -> Array:
        most, held = self.keep_first + self.window - 1, self._length
        return super()._rotated(q, np.arange(held - q.shape[-2], held) if at.size and at.max() <= most else at)

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        self._length = held.length
        return super()._attended(q, held, options)


@cache_twin("cached_is_full", row="RingCache, re-based")
class chunk_rotated_from_zero(RingCache):
    """Keys are rotated by their place in the chunk: positions start at 0 again with every step."""

    def _appended(self, k: Array, v: Array) -> Tapes:
        turn, start = self.rotate, self.length
        if turn is None:
            return super()._appended(k, v)
        self.rotate = lambda x, at: turn(x, at - start)
        grown = super()._appended(k, v)
        self.rotate = turn
        return grown
