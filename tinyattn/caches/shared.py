"""SharedCache: a layer without keys of its own reads those of another."""

from __future__ import annotations

import copy
import os
from typing import Any, Self

from tinyattn.caches.asked import check_options
from tinyattn.caches.base import Base
from tinyattn.caches.protocol import Cache, check_truncation
from tinyattn.ops.types import Array


class SharedCache:
    """Reads the cache of the layer that makes the keys, after that layer's own step; exact where that is (arXiv:2405.12981).

    `step` brings queries alone. What is stored is the source's, and is changed there: append, reorder and save belong to it,
    and truncating is legal to the length that it has. `copy.deepcopy` of a list of caches keeps who reads whom. A ring that is
    shared needs a slack of the longest chunk less one: its reader comes when the chunk is in, and reads what is still held.

    nbytes = 0.

    Raises:
        ValueError: keys or values, and what belongs to the source.

    >>> import numpy as np
    >>> from tinyattn.caches.growing import GrowingCache
    >>> source, x = GrowingCache(), np.ones((1, 2, 3, 4))
    >>> reader = SharedCache(source)
    >>> source.step(x, x, x).shape, reader.step(x).shape, reader.length, reader.nbytes
    ((1, 2, 3, 4), (1, 2, 3, 4), 3, 0)
    """

    nbytes = allocated = 0

    def __init__(self, source: Cache) -> None:
        if not (hasattr(source, "attend") and hasattr(source, "length")):
            raise TypeError(f"source: expected the cache of another layer, got {type(source).__name__}")
        self.source = source

    @property
    def exact(self) -> bool:
        """Whether the source is."""
        return self.source.exact

    @property
    def length(self) -> int:
        """Tokens that the source has seen."""
        return self.source.length

    @property
    def capacity(self) -> int | None:
        """Tokens that fit in the source."""
        return self.source.capacity

    def positions(self, count: int) -> Array:
        """Returns the positions of the source's last tokens: those of the queries that are to read."""
        return self.source.positions(count) - count

    def step(self, q: Array, k: Array | None = None, v: Array | None = None, **options: Any) -> Array:
        """Returns what queries at the positions of the source's last step read."""
        if k is not None or v is not None:
            raise ValueError("k, v: this cache has none of its own; they go to its source")
        if not isinstance(self.source, Base):
            return self.source.attend(q, **options)
        check_options("step", options, self.source._attend_names)
        return self.source._reread(q, options)

    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what queries at the last positions of the source read."""
        return self.source.attend(q, **options)

    def view(self) -> tuple[Array, Array, Array]:
        """Returns the source's view."""
        return self.source.view()  # type: ignore[attr-defined]

    def append(self, k: Array, v: Array) -> None:
        """Raises ValueError: tokens are appended to the source."""
        raise ValueError("append: this cache has no keys of its own; append to its source")

    def truncate(self, length: int) -> None:
        """Raises ValueError unless the source has just this length."""
        if check_truncation(length, self.length) != self.length:
            raise ValueError(f"length: the source has {self.length} tokens, got {length}; truncate the source")

    def reorder(self, indices: Array) -> None:
        """Raises ValueError: rows are reordered in the source."""
        raise ValueError("reorder: the rows are the source's; reorder the source")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Raises ValueError: what there is to save is the source's."""
        raise ValueError("save: this cache holds nothing; save its source")

    def fork(self) -> Self:
        """Returns a reader of a fork of the source; to keep several readers of one source together, deepcopy them all."""
        return type(self)(self.source.fork())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(copy.deepcopy(self.source, memo))
