"""GrowingCache: all keys and values, in buffers that double."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.asked import names_of
from tinyattn.caches.protocol import check_tokens
from tinyattn.caches.tape import Tape
from tinyattn.caches.taped import Held, Taped
from tinyattn.ops.types import Array


class GrowingCache(Taped):
    """Keeps every key and value; exact: decoding through it equals the full computation.

    nbytes = length kv_heads (head_dim + value_dim) itemsize, times the leading axes. `mechanism(q, k, v, causal=True)`
    is how queries read.

    >>> cache = GrowingCache()
    >>> x = np.ones((1, 2, 3, 4))
    >>> cache.step(x, x, x).shape, cache.length, cache.nbytes
    ((1, 2, 3, 4), 3, 384)
    """

    always: Mapping[str, Any] = {"causal": True}

    def __init__(self, mechanism: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.mechanism = fastest.attention if mechanism is None else mechanism
        self._names = names_of(self.mechanism, {"causal": True, **self.always})

    def _room(self, length: int) -> int | None:
        """Returns the rows of a new buffer for so many tokens; None is twice those held."""
        return None

    def _grown(self, k: Array, v: Array) -> Held:
        k, v = check_tokens(k, v, self._kept())
        held = self._held or Held({"keys": Tape.like(k), "values": Tape.like(v)}, 0)
        length = held.length + k.shape[-2]
        room = self._room(length)
        keys, values = held.tapes["keys"].extended(k, room), held.tapes["values"].extended(v, room)
        return Held({"keys": keys, "values": values}, length)

    def _read(self, q: Array, held: Held, options: dict[str, Any]) -> Array:
        keys, values = held.tapes["keys"].rows, held.tapes["values"].rows
        out: Array = self.mechanism(q, keys, values, **self.always, **options)
        # What a mechanism returns may be the values themselves: what is written later must not change it.
        return out.copy() if np.may_share_memory(out, values) or np.may_share_memory(out, keys) else out

    def _cut(self, length: int) -> Held | None:
        held = self._held
        return held and held.each(lambda tape: tape.without(held.length - length))._replace(length=length)
