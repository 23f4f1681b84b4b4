"""Faults where a cache keeps more of a token than its key and value: gates, keys of an indexer, factors."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.caches import FactorCache, TokenCache
from tinyattn.caches.tape import Tape, Tapes
from tinyattn.caches.tokens import gates_held
from tinyattn.ops.types import Array
from tinyattn.testing.broken.cache import cache_twin

INDEX = "TokenCache, keys of an indexer"


def moved_alone(held: Tapes, rows: Array) -> Tapes:
    """Returns the keys and values of these rows, with gates in the order in which they were."""
    return held.reordered(rows)._replace(tapes=held.reordered(rows).tapes | gates_held(held))


@cache_twin("cached_is_full", row="TokenCache")
class gates_of_the_chunk_alone(TokenCache):
    """Only the newest chunk has its gates: those of the tokens before it count as 1."""

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        new = (np.arange(held.length) >= held.length - q.shape[-2])[:, None]
        opened = {name: Tape.of(np.where(new, tape.rows, tape.rows.dtype.type(0))) for name, tape in gates_held(held).items()}
        return super()._attended(q, held._replace(tapes=held.tapes | opened), options)


@cache_twin("drafts_leave_no_trace", row="TokenCache")
class gates_cut_at_the_wrong_end(TokenCache):
    """Truncation removes the oldest gates, so that each gate moves to a later token."""

    def _truncated(self, held: Tapes, length: int) -> Tapes | None:
        last = {name: Tape.of(tape.rows[..., held.length - length :, :].copy()) for name, tape in gates_held(held).items()}
        cut = super()._truncated(held, length)
        return None if cut is None else cut._replace(tapes=cut.tapes | last)


@cache_twin("rows_go_where_they_are_told", row="TokenCache")
class gates_stay_where_rows_move(TokenCache):
    """Keys and values move to other rows, and the gates stay."""

    def _reordered(self, held: Tapes, rows: Array) -> Tapes:
        return moved_alone(held, rows)


@cache_twin("rows_go_where_they_are_told", row=INDEX)
class index_keys_stay_where_rows_move(TokenCache):
    """Keys and values move to other rows, and the keys of the indexer stay."""

    def _reordered(self, held: Tapes, rows: Array) -> Tapes:
        return moved_alone(held, rows)


@cache_twin("cached_is_full", "cached_one_by_one", row=INDEX)
class index_keys_shifted_by_a_token(TokenCache):
    """The keys of the indexer are read from one token too early."""

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        late = {name: Tape.of(np.roll(tape.rows, 1, axis=-2)) for name, tape in gates_held(held).items()}
        return super()._attended(q, held._replace(tapes=held.tapes | late), options)


@cache_twin("cached_is_full", "cached_one_by_one", row="FactorCache")
class one_factor_kept(FactorCache):
    """Of the factors of a value only the first is kept."""

    def _appended(self, k: Array, v: Array) -> Tapes:
        return super()._appended(k, v * (np.arange(v.shape[-3]) == 0)[:, None, None])
