"""CrossCache: an encoder's memory, computed once and read at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyattn.caches.asked import check_options
from tinyattn.caches.base import exclusive
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.protocol import count_of
from tinyattn.caches.taped import Held
from tinyattn.ops.types import Array


class CrossCache(GrowingCache):
    """Keeps the keys and values of a memory; exact. Every query sees all of it, so that decoding neither adds nor hides.

    The memory comes with the first append or step, and the steps after it bring queries alone.
    nbytes = length kv_heads (head_dim + value_dim) itemsize, times the leading axes, `length` being the memory's.

    Raises:
        ValueError: a second memory (truncate to 0 first), a part of one cut off, or a step that has none.

    >>> import numpy as np
    >>> cache, x = CrossCache(), np.ones((1, 2, 3, 4))
    >>> cache.step(x[..., :1, :], x, x).shape, cache.step(x[..., :2, :]).shape, cache.length
    ((1, 2, 1, 4), (1, 2, 2, 4), 3)
    """

    always: Mapping[str, Any] = {}

    def _grown(self, k: Array, v: Array) -> Held:
        if self._held is not None:
            raise ValueError(f"k: a memory of {self.length} tokens is here already, and it is not added to; truncate(0) forgets it")
        return super()._grown(k, v)

    @exclusive
    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what any number of queries read from the memory; options as the mechanism's."""
        check_options("attend", options, self._names)
        count_of(q)
        if self._held is None:
            raise ValueError("attend: this cache is empty; append the memory first")
        return self._read(self._fitting(q, self._held.tapes["keys"].buffer), self._held, options)

    @exclusive
    def step(self, q: Array, k: Array | None = None, v: Array | None = None, **options: Any) -> Array:
        """Returns what queries read from the memory, which the first step brings."""
        check_options("step", options, self._names)
        count_of(q)
        if k is None and v is None:
            held = self._held
        elif k is None or v is None:
            raise ValueError("k, v: expected both or neither")
        else:
            held = self._grown(k, v)
        if held is None:
            raise ValueError("step: this cache is empty; give it the memory's keys and values first")
        out = self._read(self._fitting(q, held.tapes["keys"].buffer), held, options)
        self._held = held
        return out

    def _cut(self, length: int) -> Held | None:
        if length:
            raise ValueError(f"length: a memory of {self.length} tokens is whole or forgotten (0), got {length}")
        return None
