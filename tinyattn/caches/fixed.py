"""FixedCache: a buffer of fixed capacity, made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.protocol import CapacityError
from tinyattn.ops.checks import whole


class FixedCache(GrowingCache):
    """Keeps up to `capacity` tokens in one buffer, written in place behind an explicit length; exact.

    The first append makes the buffer. Slots behind the length are never read, whatever they contain.
    nbytes = length kv_heads (head_dim + value_dim) itemsize; allocated is the same of the capacity.

    Raises:
        CapacityError: on an append or step that does not fit.

    >>> import numpy as np
    >>> cache = FixedCache(8)
    >>> x = np.ones((1, 2, 3, 4))
    >>> cache.append(x, x)
    >>> cache.nbytes, cache.allocated
    (384, 1024)
    """

    def __init__(self, capacity: int, mechanism: Callable[..., Any] | None = None) -> None:
        super().__init__(mechanism)
        self._capacity = whole("capacity", capacity, 1, 1 << 40)

    @property
    def capacity(self) -> int:
        """Number of tokens that fit."""
        return self._capacity

    def _room(self, length: int) -> int:
        if length > self.capacity:
            raise CapacityError(f"this cache holds {self.length} of at most {self.capacity} tokens, {length - self.length} more "
                                f"do not fit")
        return self.capacity

    def _settings(self) -> dict[str, int]:
        return {"capacity": self.capacity}
