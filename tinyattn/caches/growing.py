"""GrowingCache: all keys and values, in buffers that double."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches import base
from tinyattn.caches.checks import check_keys_values
from tinyattn.caches.options import check_sets, names_of
from tinyattn.caches.tape import Tape, Tapes
from tinyattn.ops.types import Array

NAMES = ("keys", "values")


class GrowingCache(base.Base):
    """Keeps every key and value; exact: decoding through it equals the full computation.

    nbytes = length kv_heads (head_dim + value_dim) itemsize, times the leading axes. The attention is
    `mechanism(q, k, v, causal=True)`; the mechanism is `attention` unless another one is given.

    Raises:
        TypeError: a mechanism that is no function, or without the option `causal`.

    >>> cache = GrowingCache()
    >>> x = np.ones((1, 2, 3, 4))
    >>> cache.step(x, x, x).shape, cache.length, cache.nbytes
    ((1, 2, 3, 4), 3, 384)
    """

    always: Mapping[str, Any] = {"causal": True}
    _held: Tapes | None
    view = base.view

    def __init__(self, mechanism: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.mechanism = fastest.attention if mechanism is None else mechanism
        self._names = names_of(self.mechanism, {"causal": True, **self.always})
        check_sets(self.mechanism, self.always, f"a {type(self).__name__}")

    def _room(self, length: int) -> int | None:
        """Returns the rows of a new buffer for this number of tokens; None means twice the number held."""
        return None

    def _appended(self, k: Array, v: Array) -> Tapes:
        held = self._held
        k, v = check_keys_values(k, v, held and held.like)
        tapes, length = held or Tapes.empty(NAMES, k, v)
        length += k.shape[-2]
        room = self._room(length)
        return Tapes({"keys": tapes["keys"].extended(k, room), "values": tapes["values"].extended(v, room)}, length)

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        keys, values = held.tapes["keys"].rows, held.tapes["values"].rows
        out: Array = self.mechanism(q, keys, values, **self.always, **options)
        # A mechanism may return the values themselves, which later tokens must not change.
        return out.copy() if np.may_share_memory(out, values) or np.may_share_memory(out, keys) else out

    def _truncated(self, held: Tapes, length: int) -> Tapes | None:
        return held.each(lambda tape: tape.without(held.length - length))._replace(length=length)

    def _viewed(self, held: Tapes) -> tuple[Array, Array, Array]:
        self._held = held.each(Tape.lent)
        return held.tapes["keys"].rows, held.tapes["values"].rows, np.arange(held.length)

    def _loaded(self, arrays: dict[str, Array]) -> Tapes:
        return Tapes.of(arrays, NAMES)
