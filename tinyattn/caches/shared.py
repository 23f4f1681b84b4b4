"""SharedCache: a layer without keys of its own attends to those of another layer."""

from __future__ import annotations

import copy
import os
from typing import Any, Self

from tinyattn.caches.base import Base
from tinyattn.caches.checks import check_truncation
from tinyattn.caches.options import check_options
from tinyattn.caches.protocol import Cache
from tinyattn.ops.types import Array


class SharedCache:
    """Reads the cache of the layer that makes the keys, after that layer's own step; exact if that cache is (arXiv:2405.12981).

    `step` takes only queries. The tokens belong to the source: append, reorder and save are done there, and this cache may only
    be truncated to the length that the source has. `copy.deepcopy` of a list of caches keeps which one reads which. A shared
    ring needs a slack of at least the longest chunk less one, since its reader comes after the chunk was stored.

    nbytes = 0.

    Raises:
        ValueError: keys or values, and operations that belong to the source.

    >>> import numpy as np
    >>> from tinyattn.caches.growing import GrowingCache
    >>> source, x = GrowingCache(), np.ones((1, 2, 3, 4))
    >>> reader = SharedCache(source)
    >>> source.step(x, x, x).shape, reader.step(x).shape, reader.length, reader.nbytes
    ((1, 2, 3, 4), (1, 2, 3, 4), 3, 0)
    """

    nbytes = allocated = 0

    def __init__(self, source: Cache) -> None:
        if isinstance(source, type) or not (hasattr(source, "attend") and hasattr(source, "length")):
            came = f"the class {source.__name__}" if isinstance(source, type) else type(source).__name__
            raise TypeError(f"source: expected the cache of another layer, got {came}")
        self.source = source

    @property
    def exact(self) -> bool:
        """Whether the source is exact."""
        return self.source.exact

    @property
    def length(self) -> int:
        """Number of tokens that the source has seen."""
        return self.source.length

    @property
    def capacity(self) -> int | None:
        """Number of tokens that fit in the source."""
        return self.source.capacity

    def positions(self, count: int) -> Array:
        """Returns the positions of the source's last tokens, at which the queries stand."""
        return self.source.positions(count) - count

    def step(self, q: Array, k: Array | None = None, v: Array | None = None, **options: Any) -> Array:
        """Returns the attention of queries at the positions of the source's last step."""
        if k is not None or v is not None:
            raise ValueError("k, v: this cache has no keys of its own; give them to its source")
        if not isinstance(self.source, Base):
            return self.source.attend(q, **options)
        check_options("step", options, self.source._attend_names)
        return self.source._attended_again(q, options)

    def attend(self, q: Array, **options: Any) -> Array:
        """Returns the attention of queries at the last positions of the source."""
        return self.source.attend(q, **options)

    def view(self) -> tuple[Array, Array, Array]:
        """Returns the source's view."""
        return self.source.view()  # type: ignore[attr-defined]

    def append(self, k: Array, v: Array) -> None:
        """Raises ValueError: tokens are appended to the source."""
        raise ValueError("append: this cache has no keys of its own; append to its source")

    def truncate(self, length: int) -> None:
        """Raises ValueError unless the source has exactly this length."""
        if check_truncation(length, self.length) != self.length:
            raise ValueError(f"length: the source has {self.length} tokens, got {length}; truncate the source")

    def reorder(self, indices: Array) -> None:
        """Raises ValueError: rows are reordered in the source."""
        raise ValueError("reorder: this cache has no rows of its own; reorder the source")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Raises ValueError: the source is saved instead."""
        raise ValueError("save: this cache has no tokens of its own; save its source")

    def fork(self) -> Self:
        """Returns a reader of a fork of the source; to keep several readers of one source together, deepcopy them all at once."""
        return type(self)(self.source.fork())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(copy.deepcopy(self.source, memo))
