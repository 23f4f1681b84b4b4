"""PagePool and PagedCache: many sequences in the pages of one pool, found through tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from tinyattn.caches import base
from tinyattn.caches.checks import check_keys_values
from tinyattn.caches.page_reading import paged_attention
from tinyattn.caches.page_writing import Placed, fresh_pages, pools_for, shared_ends, write
from tinyattn.caches.pages import Book, Table, chain, check_ids
from tinyattn.caches.pool import Pool
from tinyattn.caches.turns import exclusive
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.score_rule import ScoreRule, with_parts
from tinyattn.ops.types import Array


class PagePool(Pool):
    """Pages of `page_size` tokens for many sequences; `sequence()` returns a cache that takes pages as its tokens need them.

    Keys lie in one array (pages, kv_heads, page_size, head_dim) and values in another, which the first append makes. Sequences
    share pages: a fork takes no page, and copies its last page when it writes into it. A pool and its sequences are for
    one thread at a time. arXiv:2309.06180.

    >>> pool = PagePool(8, 4)
    >>> parent = pool.sequence()
    >>> x = np.ones((2, 6, 3))
    >>> parent.append(x, x)
    >>> child = parent.fork()
    >>> child.append(x[:, :1], x[:, :1])
    >>> pool.used_pages, pool.free_pages
    (3, 5)
    """

    @exclusive
    def sequence(self, tokens: Array | Sequence[int] | None = None, *, scope: str = "") -> PagedCache:
        """Returns a new sequence that starts with the published pages of `tokens`; its length says how many tokens were found.

        Leave out the last token: its logits are wanted, so that its query must be computed. `scope` names the model or adapter,
        since keys depend on it and not only on the tokens.
        """
        found = self._book.found(chain(check_ids([] if tokens is None else tokens), self.page_size, scope), self.page_size)
        cache = PagedCache(self)
        self._book = self._book.holding(cache._number, found)
        return cache


class PagedCache(base.Base):
    """One sequence, or a batch of equally long ones, in a pool's pages; exact.

    `PagePool.sequence` makes one; `free` it at the end. `reorder` and `fork` copy no token.

    nbytes = length kv_heads (head_dim + value_dim) itemsize, times the rows; allocated counts whole pages, at most
    page_size - 1 tokens more per row, and a page that rows share once.

    Raises:
        CapacityError: the pool has too few free pages. ValueError: it was freed.

    >>> cache, x = PagePool(8, 4).sequence(), np.ones((2, 6, 3))
    >>> cache.step(x, x, x).shape, cache.length, cache.capacity
    ((2, 6, 3), 6, 32)
    """

    view = base.view

    def __init__(self, pool: PagePool) -> None:
        if not isinstance(pool, PagePool):
            raise TypeError(f"pool: expected a PagePool, got {type(pool).__name__}")
        self.pool, self._turn = pool, pool._turn
        self._before: int | None = None  # the number of the sequence that this one replaces
        self._number = pool._entered(self, None)

    @property
    def _book(self) -> Book:
        """The pool's book; ValueError if this sequence is not in it."""
        if self._number not in self.pool._book.tables:
            raise ValueError(f"sequence {self._number} is not in this pool: it was freed, or belongs to another")
        return self.pool._book

    @property
    def _held(self) -> Placed | None:
        book = self._book
        table = book.tables[self._number]
        return None if table is None else Placed(table, book)

    @_held.setter
    def _held(self, held: Placed) -> None:
        self.pool._book = self.pool._book._replace(keys=held.book.keys, values=held.book.values).holding(self._number, held.table)

    @property
    def capacity(self) -> int:
        """Number of tokens per row that fit in the whole pool."""
        held = self._held
        return self.pool.pages // (1 if held is None else max(1, len(held.table.pages))) * self.pool.page_size

    def _appended(self, k: Array, v: Array) -> Placed:
        held = self._held
        k, v = check_keys_values(k, v, held and held.like)
        lead = k.shape[:-3]
        table = Table(np.zeros((math.prod(lead), 0), np.int64), 0, lead) if held is None else held.table
        k, v = in_rows(k), in_rows(v)
        keys, values = pools_for(self._book, k, v, self.pool.page_size)
        copied, count = self._shared_ends(table) if k.shape[-2] else [], k.shape[-2]
        taken, book = self.pool._book.taking(len(copied) + len(table.pages) * fresh_pages(table, count, self.pool.page_size))
        self.pool._book = book  # a page loses its name before it is written
        grown = write(keys, values, table, k, v, copied, taken)
        return Placed(grown, book._replace(keys=keys, values=values))

    def _shared_ends(self, table: Table) -> list[int]:
        """Returns the rows of a table whose last page must be copied before it is written."""
        book = self.pool._book
        return shared_ends(book, table, self.pool.page_size, None if self._before is None else book.tables.get(self._before))

    def _wanted(self, length: int) -> int:
        """Returns how many more pages are needed to hold this many tokens per row."""
        held, size = self._held, self.pool.page_size
        if held is None:
            return -(-length // size)
        more = length - held.length
        copied = self._shared_ends(held.table) if more > 0 else []
        return len(held.table.pages) * fresh_pages(held.table, more, size) + len(copied)

    def _attended(self, q: Array, held: Placed, options: dict[str, Any]) -> Array:
        table, (keys, values) = held.table, held.pools
        squares = {name: option_in_rows(name, options[name], table.lead) for name in options.keys() & {"mask", "bias", "score"}}
        lengths = np.full(len(table.pages), table.length, np.int64)
        out = paged_attention(in_rows(q), keys, values, table.pages, lengths, **options | squares)
        return out.reshape(*table.lead, *out.shape[1:])

    def _viewed(self, held: Placed) -> tuple[Array, Array, Array]:
        arrays = held.saved()
        return arrays["keys"], arrays["values"], np.arange(held.length)

    def _truncated(self, held: Placed, length: int) -> Placed:
        pages = held.table.pages[:, : -(-length // self.pool.page_size)]
        return held._replace(table=held.table._replace(pages=pages, length=length))

    @exclusive
    def fork(self) -> Self:
        """Returns a sequence with the same tokens in the same pages; the first of them to write into the last page copies it."""
        child = type(self).__new__(type(self))
        child.__dict__.update(self.__dict__)
        child._before = None
        child._number = self.pool._entered(child, self._book.tables[self._number])
        return child

    def _successor(self) -> Self:
        """Returns a fork that will replace this one, and may write behind its tokens into the same page."""
        child = self.fork()
        child._before = self._number
        return child

    @exclusive
    def free(self) -> None:
        """Returns the pages that no other sequence holds to the pool; this sequence can no longer be used."""
        self.pool._book = self._book.without(self._number)

    @exclusive
    def publish(self, tokens: Array | Sequence[int], *, scope: str = "") -> None:
        """Lets sequences that start with the same tokens share the full pages of this one, even after it was freed.

        Raises:
            ValueError: several rows, or more tokens than are stored.
        """
        held, ids = self._held, check_ids(tokens)
        if held is None or len(held.table.pages) != 1 or len(ids) > held.length:
            raise ValueError(f"tokens: expected at most the {self.length} stored of one row, got {len(ids)}")
        self.pool._book = held.book.naming(held.table, chain(ids, self.pool.page_size, scope))

    def _loaded(self, arrays: dict[str, Array]) -> Placed:
        return self._appended(arrays["keys"], arrays["values"])


def in_rows(x: Array) -> Array:
    """Returns (..., heads, n, dim) with all leading axes as one."""
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])


def option_in_rows(name: str, option: Any, lead: tuple[int, ...]) -> Any:
    """Returns a mask, bias or score rule, an array or a Pattern, with all leading axes as one where it has such axes."""
    if isinstance(option, ScoreRule):
        return with_parts(option, lambda x: option_in_rows("a score parameter", x, lead))
    if isinstance(option, Pattern):
        return Pattern(lambda i, j: option_in_rows(name, np.asarray(option.see(i, j)), lead), text=option.text)
    if len(getattr(option, "shape", ())) <= 3:
        return option
    check_broadcast(name, option.shape[:-3], lead, "the leading axes")
    return in_rows(np.broadcast_to(option, (*lead, *option.shape[-3:])))
