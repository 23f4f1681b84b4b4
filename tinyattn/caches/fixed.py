"""FixedCache: a buffer of fixed capacity, made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.caches.checks import check_keys_values, check_positions
from tinyattn.caches.growing import NAMES, GrowingCache
from tinyattn.caches.protocol import CapacityError
from tinyattn.caches.tape import Tapes
from tinyattn.caches.turns import exclusive
from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array


class FixedCache(GrowingCache):
    """Keeps up to `capacity` tokens in one buffer, written in place behind an explicit length; exact.

    The first append makes the buffer, and `write` stores tokens at any positions in it. Slots behind the length are never read,
    whatever they contain.
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

    @exclusive
    def write(self, positions: Array, k: Array, v: Array) -> None:
        """Stores tokens at these positions, in the place of those that are there: k (..., kv_heads, n, head_dim), v as for `append`.

        The length becomes the largest position + 1 where that is more, and a slot that was never written holds 0: it is seen unless
        the caller's mask hides it. positions (n,) are those of all sequences, or (..., n), one row per sequence. Tokens behind the
        length are written in place; writing before it copies the buffer, since views and forks keep what they show.

        Raises:
            TypeError: positions that are no array of integers; keys and values as for `append`. CapacityError: a position that is
                not below the capacity. ValueError: a negative position, one that stands twice in a row, or another shape.

        >>> import numpy as np
        >>> cache, x = FixedCache(8), np.ones((1, 1, 2, 1))
        >>> cache.write(np.array([3, 1]), x, x)
        >>> cache.view()[0][0, 0, :, 0].tolist(), cache.length
        ([0.0, 1.0, 0.0, 1.0], 4)
        """
        held = self._held
        k, v = check_keys_values(k, v, held and held.like)
        at = check_positions(positions, k, self.capacity)
        tapes, length = held or Tapes.empty(NAMES, k, v)
        stop = max(length, int(at.max(initial=-1)) + 1)
        index = np.broadcast_to(at, (*k.shape[:-3], at.shape[-1]))[..., None, :, None]
        self._held = Tapes({"keys": tapes["keys"].written(index, k, stop, self.capacity),
                            "values": tapes["values"].written(index, v, stop, self.capacity)}, stop)

    def _settings(self) -> dict[str, int]:
        return {"capacity": self.capacity}
