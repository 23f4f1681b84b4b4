"""A pool of pages and its book; a sequence that no longer exists as an object is removed from the book."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import numpy as np

from tinyattn.caches.pages import Book, Table
from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array

# More tokens than any memory holds.
MOST = 1 << 40


class Pool:
    """Pages of `page_size` tokens, and which sequence holds which pages."""

    def __init__(self, pages: int, page_size: int) -> None:
        self.pages, self.page_size = whole("pages", pages, 1, MOST), whole("page_size", page_size, 1, MOST)
        self._turn: dict[str, int] = {}
        self._state = Book.blank(self.pages)  # replaced and never changed, so that a failure leaves it as it was
        self._last = 0
        self._gone: deque[int] = deque()

    @property
    def _book(self) -> Book:
        """The pool's book, without the sequences that no longer exist.

        Beware: a sequence can be collected in the middle of an operation, whose older book would bring it back. So its number is
        only noted at that time, and removed here.
        """
        while self._gone:
            self._state = self._state.without(self._gone[0])
            self._gone.popleft()
        return self._state

    @_book.setter
    def _book(self, book: Book) -> None:
        self._state = book

    def _entered(self, cache: Any, table: Table | None) -> int:
        """Returns the number of a new sequence, which holds a table until it is freed or no longer exists."""
        self._last += 1
        weakref.finalize(cache, self._gone.append, self._last).atexit = False
        self._book = self._book.holding(self._last, table)
        return self._last

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("PagePool: a pool cannot be pickled or copied, as its sequences would not come along; save each of them")

    @property
    def used_pages(self) -> int:
        """Number of pages that some sequence holds."""
        return int(np.count_nonzero(self._book.references))

    @property
    def free_pages(self) -> int:
        """Number of pages that no sequence holds."""
        return len(self._book.free)

    @property
    def references(self) -> Array:
        """How many tables hold each page, (pages,)."""
        return self._book.references.copy()

    @property
    def allocated(self) -> int:
        """Bytes of all pages."""
        return sum(pool.nbytes for pool in (self._book.keys, self._book.values) if pool is not None)
