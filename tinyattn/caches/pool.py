"""The pages of a pool and its book, from which a sequence is crossed out when nobody holds it any more."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import numpy as np

from tinyattn.caches.base import Turns
from tinyattn.caches.pages import Book, Table
from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array

# More tokens than any memory holds.
MOST = 1 << 40


class Pool(Turns):
    """Pages of `page_size` tokens, and who holds which."""

    def __init__(self, pages: int, page_size: int) -> None:
        self.pages, self.page_size = whole("pages", pages, 1, MOST), whole("page_size", page_size, 1, MOST)
        self._turn: dict[str, int] = {}
        self._state = Book.blank(self.pages)  # replaced whole, so that what fails in between leaves it as it was
        self._last = 0
        self._gone: deque[int] = deque()

    @property
    def _book(self) -> Book:
        """The pool's book, without the sequences that nobody holds any more.

        Beware: a sequence can be collected in the middle of an act, whose older book would bring it back. So it is only noted
        down at that time, and crossed out here.
        """
        while self._gone:
            self._state = self._state.without(self._gone[0])
            self._gone.popleft()
        return self._state

    @_book.setter
    def _book(self, book: Book) -> None:
        self._state = book

    def _entered(self, cache: Any, table: Table | None) -> int:
        """Returns the number under which a new sequence holds a table until it is freed or nobody holds it any more."""
        self._last += 1
        weakref.finalize(cache, self._gone.append, self._last).atexit = False
        self._book = self._book.holding(self._last, table)
        return self._last

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("PagePool: a pool cannot be pickled or copied, as its sequences would not come along; save each of them")

    @property
    def used_pages(self) -> int:
        """Pages that some sequence holds."""
        return int(np.count_nonzero(self._book.references))

    @property
    def free_pages(self) -> int:
        """Pages that no sequence holds."""
        return len(self._book.free)

    @property
    def references(self) -> Array:
        """How often each page stands in a table, (pages,)."""
        return self._book.references.copy()

    @property
    def allocated(self) -> int:
        """Bytes of all pages."""
        return sum(pool.nbytes for pool in (self._book.keys, self._book.values) if pool is not None)
