"""The book of a pool of pages: which sequence holds which pages, as a value that is replaced and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tinyattn.caches.protocol import CapacityError
from tinyattn.ops.checks import integers
from tinyattn.ops.types import Array

NONE = np.zeros(0, np.int64)


class Table(NamedTuple):
    """The pages of one sequence, (rows, blocks) int64, its tokens per row, and the leading axes that its rows stand for."""

    pages: Array
    length: int
    lead: tuple[int, ...]


class Book(NamedTuple):
    """How many tables hold each page, the free pages in the order in which they are given out, and the tables by number.

    `named` finds a full page by the digest of its tokens and of all tokens before them; `names` gives the digest of a page. A
    named page is never written, and a free page keeps its name until it is given out.
    """

    references: Array
    free: Array
    tables: dict[int, Table | None]
    named: dict[bytes, tuple[int, tuple[int, ...]]]
    names: dict[int, bytes]
    keys: Array | None = None
    values: Array | None = None

    @classmethod
    def blank(cls, pages: int) -> Book:
        """Returns the book of a pool in which nothing is held."""
        return cls(np.zeros(pages, np.int64), np.arange(pages), {}, {}, {})

    def holding(self, number: int, table: Table | None) -> Book:
        """Returns the book in which a sequence holds this table instead of its former one; None is a sequence without tokens."""
        return self._moved(number, table)._replace(tables={**self.tables, number: table})

    def without(self, number: int) -> Book:
        """Returns the book without a sequence, which may have been removed already."""
        return self._moved(number, None)._replace(tables={n: table for n, table in self.tables.items() if n != number})

    def _moved(self, number: int, table: Table | None) -> Book:
        old = self.tables.get(number)
        if old is not None and table is not None and old.pages is table.pages:
            return self
        before, after = (NONE if held is None else held.pages.reshape(-1) for held in (old, table))
        references = self.references.copy()
        np.subtract.at(references, before, 1)
        np.add.at(references, after, 1)
        left, gone = self.free[references[self.free] == 0], np.unique(before[references[before] == 0])
        return self._replace(references=references, free=np.concatenate((left, gone)))

    def taking(self, count: int) -> tuple[list[int], Book]:
        """Returns pages to write to, and the book in which they no longer have names.

        Raises:
            CapacityError: there are not enough free pages.
        """
        if count > len(self.free):
            raise CapacityError(f"{count} pages are needed, {len(self.free)} of {len(self.references)} are free; free a sequence "
                                f"or make a larger pool")
        pages = self.free[:count].tolist()
        lost = {self.names[page] for page in pages if page in self.names}
        if not lost:
            return pages, self
        return pages, self._replace(named={name: place for name, place in self.named.items() if name not in lost},
                                    names={page: name for page, name in self.names.items() if name not in lost})

    def written(self, page: int, others: int) -> bool:
        """Returns whether a page may be written in place by a sequence that holds it `others` more times."""
        return int(self.references[page]) - others == 1 and page not in self.names

    def naming(self, table: Table, digests: Iterator[bytes]) -> Book:
        """Returns the book in which the first pages of a table have names; a known name stays with its page."""
        named, names = dict(self.named), dict(self.names)
        for page, digest in zip((int(page) for page in table.pages[0]), digests, strict=False):
            if digest not in named and page not in names:
                named[digest], names[page] = (page, table.lead), digest
        return self._replace(named=named, names=names)

    def found(self, digests: Iterator[bytes], page_size: int) -> Table | None:
        """Returns the table of the longest run of named pages; None if the first is unknown."""
        pages: list[int] = []
        lead: tuple[int, ...] = ()
        for digest in digests:
            if digest not in self.named:
                break
            page, lead = self.named[digest]
            pages.append(page)
        return Table(np.array([pages], np.int64), len(pages) * page_size, lead) if pages else None


def chain(tokens: Array, page_size: int, scope: str) -> Iterator[bytes]:
    """Yields a digest for every full page of tokens, of these tokens and all before them; the chain starts with `scope`.

    Equal tokens at another place or after other tokens have another digest, as do those of another scope: another model or
    adapter, whose keys are different.
    """
    if not isinstance(scope, str):
        raise TypeError(f"scope: expected a str, got {type(scope).__name__}")
    digest = hashlib.sha256(scope.encode()).digest()
    for start in range(0, len(tokens) - page_size + 1, page_size):
        digest = hashlib.sha256(digest + tokens[start : start + page_size].astype("<i8").tobytes()).digest()
        yield digest


def check_ids(tokens: Array | Sequence[int]) -> Array:
    """Returns tokens as an array of ints along one axis."""
    ids = np.asarray(tokens)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu") or isinstance(tokens, np.ma.MaskedArray):
        raise TypeError(f"tokens: expected ints along one axis, got {type(tokens).__name__} of {ids.dtype} and shape {ids.shape}")
    return integers("tokens", ids) if ids.size else np.zeros(0, np.int64)
