"""Faults in storage: shared pages, wrong codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.caches import PagedCache, PagePool, QuantizedCache
from tinyattn.caches.page_writing import Placed
from tinyattn.caches.pages import Table
from tinyattn.caches.tape import Tapes
from tinyattn.ops.quantize import Packed
from tinyattn.testing.broken.cache import cache_twin

FOUR = "QuantizedCache, 4 bits"


class Sharing(PagedCache):
    """A paged cache that writes into its last page even if another cache holds it, too."""

    def _shared_ends(self, table: Table) -> list[int]:
        return []


@cache_twin("a_fork_goes_its_own_way", "rows_go_where_they_are_told", row="PagedCache")
def shared_page_written(pages: int, page_size: int) -> Any:
    """A fork writes into the last page, which it shares with its parent and did not copy."""
    return Sharing(PagePool(pages, page_size))


class Rewound(PagedCache):
    """A paged cache that forgets one page too many when it is truncated."""

    def _truncated(self, held: Placed, length: int) -> Placed:
        return super()._truncated(held, length - length % self.pool.page_size)


@cache_twin("drafts_leave_no_trace", row="PagedCache")
def truncated_to_whole_pages(pages: int, page_size: int) -> Any:
    """Truncation frees the page in which the text now ends."""
    return Rewound(PagePool(pages, page_size))


@cache_twin("cached_is_full", row="QuantizedCache")
class groups_begin_with_the_chunk(QuantizedCache):
    """Groups of tokens start where a chunk starts, so that other chunks give other codes."""

    def _quantised(self, length: Any) -> Any:
        start = self.length % self.group
        return np.maximum(0, length - self.residual - start) // self.group * self.group


@cache_twin("tokens_of_zeros_count", row="QuantizedCache")
class equal_numbers_divided_by_zero(QuantizedCache):
    """A group of equal numbers has a scale of 0, and the code is 0 / 0."""

    def _packed(self, held: Tapes, name: str) -> Packed:
        packed = super()._packed(held, name)
        flat = (packed.scale == 1) & (packed.zero == 0)
        return packed._replace(zero=np.where(flat, np.nan, packed.zero)) if flat.any() else packed


@cache_twin("within_the_bound", "cached_is_full", row="QuantizedCache")
class zero_point_forgotten(QuantizedCache):
    """Numbers are scale times code, without the zero point."""

    def _packed(self, held: Tapes, name: str) -> Packed:
        packed = super()._packed(held, name)
        return packed._replace(zero=packed.zero * 0)


@cache_twin("cached_is_full", row="QuantizedCache")
class newest_rounded_too(QuantizedCache):
    """No token is kept unrounded: it is quantised as soon as its group is complete."""

    def _quantised(self, length: Any) -> Any:
        return length // self.group * self.group


@cache_twin("cached_is_full", row=FOUR)
class halves_swapped(QuantizedCache):
    """The two codes of a byte are read in the wrong order."""

    def _packed(self, held: Tapes, name: str) -> Packed:
        packed = super()._packed(held, name)
        return packed._replace(codes=packed.codes << 4 | packed.codes >> 4)


@cache_twin("cached_is_full", row=FOUR)
class scales_of_the_next_group(QuantizedCache):
    """The codes of a group are read with the scale of the next group."""

    def _packed(self, held: Tapes, name: str) -> Packed:
        packed = super()._packed(held, name)
        return packed._replace(scale=np.roll(packed.scale, -1, axis=packed.axis if name == "keys" else -2))
