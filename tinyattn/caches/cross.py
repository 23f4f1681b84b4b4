"""CrossCache: an encoder's memory, computed once and read at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tinyattn.caches.checks import count_of
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.options import check_options
from tinyattn.caches.tape import Tapes
from tinyattn.caches.turns import exclusive
from tinyattn.ops.types import Array


class CrossCache(GrowingCache):
    """Keeps the keys and values of a memory; exact. Every query sees all of it: decoding neither adds tokens nor hides any.

    The memory comes with the first append or step; the steps after it bring only queries.
    nbytes = length kv_heads (head_dim + value_dim) itemsize, times the leading axes, `length` being the memory's.

    Raises:
        ValueError: a second memory (truncate to 0 first), truncating to a part of it, or a step without any memory.

    >>> import numpy as np
    >>> cache, x = CrossCache(), np.ones((1, 2, 3, 4))
    >>> cache.step(x[..., :1, :], x, x).shape, cache.step(x[..., :2, :]).shape, cache.length
    ((1, 2, 1, 4), (1, 2, 2, 4), 3)
    """

    always: Mapping[str, Any] = {}

    def _appended(self, k: Array, v: Array) -> Tapes:
        if self._held is not None:
            raise ValueError(f"k: this cache already holds a memory of {self.length} tokens, and nothing is added to it; "
                             f"truncate(0) removes it")
        return super()._appended(k, v)

    def _answered(self, method: str, q: Array, memory: Callable[[], Tapes], options: dict[str, Any]) -> Array:
        """Returns the attention of queries to a memory, which is stored afterwards."""
        check_options(method, options, self._names)
        count_of(q)
        held = memory()
        out = self._attended(self._fitting(q, held.like[0]), held, options)
        self._held = held
        return out

    @exclusive
    def attend(self, q: Array, **options: Any) -> Array:
        """Returns the attention of any number of queries to the memory; options are those of the mechanism."""
        return self._answered("attend", q, lambda: self._filled("attend"), options)

    @exclusive
    def step(self, q: Array, k: Array | None = None, v: Array | None = None, **options: Any) -> Array:
        """Returns the attention of queries to the memory, which comes with the first step."""
        def memory() -> Tapes:
            if k is None and v is None:
                held: Tapes = self._filled("step")
                return held
            if k is None or v is None:
                raise ValueError("k, v: expected both or neither")
            return self._appended(k, v)

        return self._answered("step", q, memory, options)

    def _truncated(self, held: Tapes, length: int) -> None:
        if length:
            raise ValueError(f"length: a memory of {self.length} tokens is kept whole or removed (0), got {length}")
