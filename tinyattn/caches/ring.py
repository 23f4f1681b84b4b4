"""RingCache: the last tokens, and the first ones where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches import base
from tinyattn.caches.checks import check_function, check_keys_values
from tinyattn.caches.parts import Part, attend_parts, narrowed, one_query, reads_all
from tinyattn.caches.tape import Tape, Tapes
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array

# Sums of such numbers still fit in 64 bits.
MOST = 1 << 60
FIRST = ("first_keys", "first_values")
NAMES = ("keys", "values", *FIRST)


class RingCache(base.Base):
    """Keeps the last `window` tokens and the first `keep_first`; exact for attention to these tokens.

    A query sees the `window` newest tokens, its own included, and the first ones, wherever it stands in a chunk. `slack`
    more tokens are held, so that truncating by at most `slack` (from the greatest length so far) is exact. The last tokens lie
    in order on a tape and not in the slots of a circle: they are read where they lie, and nothing is ever written over.

    Positions are those in the text. With `rotate(x, positions)`, for instance `tinyattn.ops.rotary`, they are those in the
    cache (arXiv:2309.17453): queries and keys are given unrotated, and a first token is never farther away than
    keep_first + window. Keys are rotated once, to their positions in the text, since distances within the window are the same;
    for the first tokens the query is rotated to its position in the cache instead.

    nbytes = min(length, keep_first + window + slack) kv_heads (head_dim + value_dim) itemsize, times the leading axes.

    >>> cache = RingCache(2)
    >>> x = np.arange(3.0).reshape(1, 3, 1)
    >>> cache.step(x * 0, x, x)[0, :, 0]
    array([0. , 0.5, 1.5])
    >>> cache.nbytes
    32
    """

    _held: Tapes | None
    view = base.view

    def __init__(self, window: int, *, keep_first: int = 0, slack: int = 0,
                 rotate: Callable[[Array, Array], Array] | None = None) -> None:
        super().__init__()
        self.window, self.keep_first = whole("window", window, 1, MOST), whole("keep_first", keep_first, 0, MOST)
        self.slack = whole("slack", slack, 0, MOST)
        if rotate is not None:
            check_function("rotate", rotate, "x and positions")
        self.rotate = rotate

    def _settings(self) -> dict[str, int]:
        return {"window": self.window, "keep_first": self.keep_first, "slack": self.slack}

    @property
    def nbytes(self) -> int:
        """Bytes that the tokens held need; a token that is among both the first and the last is counted once."""
        held = self._held
        if held is None:
            return 0
        twice = max(0, held.tapes["first_keys"].size - held.low)
        return held.nbytes - sum(held.tapes[name].rows[..., :twice, :].nbytes for name in FIRST)

    def _appended(self, k: Array, v: Array) -> Tapes:
        held = self._held
        k, v = check_keys_values(k, v, held and held.like)
        tapes, before = held or Tapes.empty(NAMES, k, v)
        length = before + k.shape[-2]
        if self.rotate is not None:
            k = self.rotate(k, np.arange(before, length))
        grown = {**tapes, "keys": tapes["keys"].extended(k), "values": tapes["values"].extended(v)}
        if before < self.keep_first:
            early = self.keep_first - before
            grown |= {name: tapes[name].extended(rows[..., :early, :]) for name, rows in zip(FIRST, (k, v), strict=True)}
        return Tapes(grown, length)

    def _trimmed(self, held: Tapes) -> Tapes:
        keep, tapes = self.window + self.slack, dict(held.tapes)
        for name in ("keys", "values"):
            tapes[name] = tapes[name].last(keep, 4 * keep)
        return Tapes(tapes, held.length)

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        if (window := options.pop("window", None)) is not None:
            raise ValueError(f"window: this ring's own is {self.window} tokens, got {window}")
        length, queries = held.length, q.shape[-2]
        keys, values, *first = (held.tapes[name].rows for name in NAMES)
        low, early = length - keys.shape[-2], first[0].shape[-2]
        start = length - queries - self.window + 1  # the oldest position in the window of the first query
        self._check_kept(low, early, start, "q")
        begin = max(low, start, self.keep_first)
        keys, values = keys[..., begin - low :, :], values[..., begin - low :, :]
        if self.rotate is None and not self.keep_first and options.get("mask") is None and options.get("bias") is None \
                and options.get("score") is None:
            if queries > 1:  # one query sees all keys from `begin` on
                options["window"] = (self.window - 1, 0)
            out: Array = fastest.attention(q, keys, values, causal=True, **options)
            return out
        at = np.arange(length - queries, length)
        if queries > 1 or options.get("bias") is not None:
            options["mask"] = narrowed(options.get("mask"), Pattern(self._sees), (*q.shape[:-1], length))
        near, far = Part(keys, values, np.arange(begin, length)), Part(first[0], first[1], np.arange(early))
        if self.rotate is not None:
            places = np.minimum(at, self.keep_first + self.window - 1)
            near, far = near._replace(q=self._rotated(q, at)), far._replace(q=self._rotated(q, places), at=places)
        if reads_all((near, far), q, options) and (read := one_query(q, [near, far])) is not None:
            return read
        return attend_parts(q, [near, far], length, **options)

    def _sees(self, i: Array, j: Array) -> Array:
        """Returns whether keys at positions j are among the first or in the window of queries at positions i."""
        return (j < self.keep_first) | (j > i - self.window)

    def _rotated(self, q: Array, at: Array) -> Array:
        """Returns queries rotated to positions."""
        return q if self.rotate is None else self.rotate(q, at)

    def _check_kept(self, low: int, early: int, start: int, name: str) -> None:
        """Raises ValueError unless all positions from `start` on are held: the first `early`, and those from `low` on."""
        if max(start, early) < low:
            raise ValueError(f"{name}: position {max(start, 0)} is seen and no longer held, the oldest that is held is {low}; "
                             f"step reads a chunk as it is appended, and a ring with more slack holds more")

    def _viewed(self, held: Tapes) -> tuple[Array, Array, Array]:
        self._held = held = held.each(Tape.lent)
        keys, values, *first = (held.tapes[name].rows for name in NAMES)
        early, positions = min(first[0].shape[-2], held.low), np.arange(held.low, held.length)
        if not early:
            return keys, values, positions
        keys, values = (np.concatenate((rows[..., :early, :], last), axis=-2)
                        for rows, last in zip(first, (keys, values), strict=True))
        return keys, values, np.concatenate((np.arange(early), positions))

    def _truncated(self, held: Tapes, length: int) -> Tapes:
        if self.keep_first < length:
            self._check_kept(held.low, held.tapes["first_keys"].size, length - self.window, "length")
        kept = {name: tape.without(max(0, tape.size - length) if name in FIRST else min(tape.size, held.length - length))
                for name, tape in held.tapes.items()}
        return Tapes(kept, length)

    def _loaded(self, arrays: dict[str, Array]) -> Tapes:
        return Tapes.of(arrays, NAMES)
