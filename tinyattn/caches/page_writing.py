"""Tokens written into pages: which pages that takes, and where nobody else reads."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from tinyattn.caches.pages import Book, Table
from tinyattn.ops.types import Array


class Change(NamedTuple):
    """A sequence's table, and the pool's book in which it is to stand."""

    table: Table
    book: Book

    @property
    def length(self) -> int:
        """Tokens per row."""
        return self.table.length


def fresh_pages(table: Table, count: int, size: int) -> int:
    """Returns the new pages that each row needs for `count` more tokens."""
    return max(0, -(-(table.length + count) // size) - table.pages.shape[1])


def shared_ends(book: Book, table: Table, size: int, guard: Table | None) -> list[int]:
    """Returns the rows whose last page is to be copied before it is written: others hold it, or it has a name.

    A `guard` is what is held by the sequence that this one takes the place of. Its tokens are not written over, as they stand
    before this one's next token, so that it is not counted among the others.
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
    """Returns the table with more tokens per row, written into the pages that were taken for them.

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
    """Returns the pool's arrays, or new ones for keys and values like these; an error if it has others."""
    shapes = [(len(book.references), x.shape[-3], page_size, x.shape[-1]) for x in (k, v)]
    if book.keys is None or book.values is None:
        return np.empty(shapes[0], k.dtype), np.empty(shapes[1], v.dtype)
    for name, x, pool, shape in zip("kv", (k, v), (book.keys, book.values), shapes, strict=True):
        if x.dtype != pool.dtype:
            raise TypeError(f"{name}: this pool holds {pool.dtype}, got {x.dtype}")
        if pool.shape != shape:
            raise ValueError(f"{name}: this pool holds {pool.shape[1]} heads of {pool.shape[3]} channels, got shape {x.shape}")
    return book.keys, book.values
