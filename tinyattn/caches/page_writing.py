"""Tokens written into pages: which new pages they need, and which pages are copied because others read them."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from tinyattn.caches.page_reading import gathered
from tinyattn.caches.pages import Book, Table
from tinyattn.ops.types import Array


class Placed(NamedTuple):
    """A sequence's table, and the pool's book that holds it."""

    table: Table
    book: Book

    @property
    def length(self) -> int:
        """Tokens per row."""
        return self.table.length

    @property
    def pools(self) -> tuple[Array, Array]:
        """The pool's arrays of keys and values."""
        if self.book.keys is None or self.book.values is None:
            raise ValueError("this pool is empty; append first")
        return self.book.keys, self.book.values

    @property
    def like(self) -> tuple[Array, Array]:
        """Keys and values of the shape and dtype that are held, without tokens."""
        keys, values = (np.empty((*self.table.lead, pool.shape[1], 0, pool.shape[3]), pool.dtype) for pool in self.pools)
        return keys, values

    @property
    def nbytes(self) -> int:
        """Bytes that the stored tokens need."""
        return len(self.table.pages) * self.length * sum(pool.shape[1] * pool.shape[3] * pool.itemsize for pool in self.pools)

    @property
    def allocated(self) -> int:
        """Bytes of the pages of the table; a page that several rows share counts once."""
        return len(np.unique(self.table.pages)) * sum(pool[:1].nbytes for pool in self.pools)

    def reordered(self, rows: Array) -> Placed:
        """Returns the table with these rows of the first axis."""
        table, lead = self.table, (len(rows), *self.table.lead[1:])
        pages = table.pages.reshape(*table.lead, table.pages.shape[1])[rows].reshape(math.prod(lead), table.pages.shape[1])
        return self._replace(table=table._replace(pages=pages, lead=lead))

    def saved(self) -> dict[str, Array]:
        """Returns keys and values, gathered from the pages."""
        table, arrays = self.table, {}
        for name, pool in zip(("keys", "values"), self.pools, strict=True):
            rows = np.empty((len(table.pages), pool.shape[1], table.length, pool.shape[3]), pool.dtype)
            for row, pages in zip(rows, table.pages, strict=True):
                row[:] = gathered(pool, pages)[:, : table.length]
            arrays[name] = rows.reshape(*table.lead, *rows.shape[1:])
        return arrays


def fresh_pages(table: Table, count: int, size: int) -> int:
    """Returns the new pages that each row needs for `count` more tokens."""
    return max(0, -(-(table.length + count) // size) - table.pages.shape[1])


def shared_ends(book: Book, table: Table, size: int, guard: Table | None) -> list[int]:
    """Returns the rows whose last page must be copied before it is written, since others hold it or it has a name.

    A `guard` is the table of the sequence that this one replaces. It does not count among the others: its tokens stand before
    the next token of this one, so that they are not written over.
    """
    if not table.length % size:
        return []
    copied: list[int] = []
    beside: Counter[int] = Counter()
    if guard is not None and guard.length <= table.length:
        beside.update(guard.pages.reshape(-1).tolist())
    for row, page in enumerate(table.pages[:, -1].tolist()):
        if not book.written(page, beside[page]):
            copied.append(row)
            beside[page] += 1
    return copied


def write(keys: Array, values: Array, table: Table, k: Array, v: Array, copied: list[int], taken: list[int]) -> Table:
    """Returns the table with more tokens per row, which are written into the pages taken for them.

    k and v (rows, kv_heads, n, dim) go into the pool's arrays `keys` and `values`; the last pages of the rows `copied` move to
    the first pages of `taken`.
    """
    size, (rows, blocks), length = keys.shape[2], table.pages.shape, table.length + k.shape[-2]
    pages = table.pages
    if taken:
        fresh = np.array(taken[len(copied):], np.int64).reshape(rows, -1) if rows else np.zeros((0, 0), np.int64)
        pages = np.concatenate((pages, fresh), axis=1)
    for row, page in zip(copied, taken, strict=False):
        keys[page], values[page] = keys[pages[row, blocks - 1]], values[pages[row, blocks - 1]]
        pages[row, blocks - 1] = page
    at = np.arange(table.length, length)
    for pool, new in ((keys, k), (values, v)):
        pool[pages[:, at // size], :, at % size] = new.swapaxes(1, 2)
    return Table(pages, length, table.lead)


def pools_for(book: Book, k: Array, v: Array, page_size: int) -> tuple[Array, Array]:
    """Returns the pool's arrays, or new ones for keys and values like these; raises if the pool holds other shapes or dtypes."""
    shapes = [(len(book.references), x.shape[-3], page_size, x.shape[-1]) for x in (k, v)]
    if book.keys is None or book.values is None:
        return np.empty(shapes[0], k.dtype), np.empty(shapes[1], v.dtype)
    for name, x, pool, shape in zip("kv", (k, v), (book.keys, book.values), shapes, strict=True):
        if x.dtype != pool.dtype:
            raise TypeError(f"{name}: this pool holds {pool.dtype}, got {x.dtype}")
        if pool.shape != shape:
            raise ValueError(f"{name}: this pool holds {pool.shape[1]} heads of {pool.shape[3]} channels, got shape {x.shape}")
    return book.keys, book.values
