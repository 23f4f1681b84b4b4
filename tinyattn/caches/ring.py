"""RingCache: the last tokens, and the first ones where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.asked import check_function
from tinyattn.caches.protocol import check_tokens
from tinyattn.caches.reading import read_parts, settled_bias, with_sinks
from tinyattn.caches.tape import Tape
from tinyattn.caches.taped import Held, Taped
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.merge import merge
from tinyattn.ops.types import Array

# Sums of such numbers still fit in 64 bits.
MOST = 1 << 60


class RingCache(Taped):
    """Keeps the last `window` tokens and the first `keep_first`; exact, for attention to just these.

    A query sees the `window` newest tokens, its own included, and the first ones, wherever it stands in a chunk. `slack`
    more are held, so that truncating by at most so many (from the longest it has been) is exact. The last tokens lie in
    order on a tape and not in the slots of a circle: nothing is unrolled to be read, and nothing is ever written over.

    Positions are the original ones. With `rotate(x, positions)`, `tinyattn.ops.rotary` for one, they are those in the
    cache (arXiv:2309.17453): queries and keys come in unrotated, and a first token is never farther away than
    keep_first + window. Keys are turned once, to their original positions, as distances in the window are the same; for
    the first tokens the query is turned to its place in the cache instead.

    nbytes = min(length, keep_first + window + slack) kv_heads (head_dim + value_dim) itemsize, times the leading axes.

    >>> cache = RingCache(2)
    >>> x = np.arange(3.0).reshape(1, 3, 1)
    >>> cache.step(x * 0, x, x)[0, :, 0]
    array([0. , 0.5, 1.5])
    >>> cache.nbytes
    32
    """

    names = ("keys", "values", "first_keys", "first_values")

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
        """Bytes that the tokens held need; one that is among the first and the last is counted once."""
        held = self._held
        if held is None:
            return 0
        twice = max(0, held.tapes["first_keys"].size - low(held))
        return super().nbytes - sum(held.tapes[name].rows[..., :twice, :].nbytes for name in ("first_keys", "first_values"))

    def _grown(self, k: Array, v: Array) -> Held:
        k, v = check_tokens(k, v, self._kept())
        held = self._held or Held({name: Tape.like(k if name.endswith("keys") else v) for name in self.names}, 0)
        length = held.length + k.shape[-2]
        if self.rotate is not None:
            k = self.rotate(k, np.arange(held.length, length))
        early = max(0, self.keep_first - held.length)
        new = {"keys": k, "values": v, "first_keys": k[..., :early, :], "first_values": v[..., :early, :]}
        return Held({name: tape.extended(new[name]) for name, tape in held.tapes.items()}, length)

    def _settled(self, held: Held) -> Held:
        keep = self.window + self.slack
        return held._replace(tapes={name: tape if name.startswith("first") else tape.last(keep).fitted(4 * keep)
                                    for name, tape in held.tapes.items()})

    def _read(self, q: Array, held: Held, options: dict[str, Any]) -> Array:
        if options.get("window") is not None:
            raise ValueError(f"window: this ring's own is {self.window} tokens, got {options['window']}")
        start = held.length - q.shape[-2] - self.window + 1  # the oldest position in the window of the oldest query
        self._check_held(held, start, "q")
        begin = max(low(held), start, self.keep_first)
        keys, values = (held.tapes[name].rows[..., begin - low(held) :, :] for name in ("keys", "values"))
        window = (self.window - 1, 0)
        if self.rotate is None and not self.keep_first and options.get("mask") is None and options.get("bias") is None:
            out: Array = fastest.attention(q, keys, values, causal=True, window=window, **options)
            return out
        sinks, at = options.pop("sinks", None), np.arange(held.length - q.shape[-2], held.length)
        if not isinstance(options.get("bias"), Bias) or self.rotate is None:
            options["bias"] = settled_bias(options.get("bias"), q, held.length,
                                           lambda: self._visible(options.get("mask"), at, held.length))
        near = read_parts(self._turned(q, at), [(keys, values, np.arange(begin, held.length))], at, held.length,
                          **{**options, "window": window})
        places = at if self.rotate is None else np.minimum(at, self.keep_first + self.window - 1)
        first = held.tapes["first_keys"], held.tapes["first_values"]
        far = read_parts(self._turned(q, places), [(first[0].rows, first[1].rows, np.arange(first[0].size))], places, held.length,
                         **options)
        return with_sinks(merge(near, far), sinks).astype(q.dtype, copy=False)

    def _visible(self, mask: Array | Pattern | None, at: Array, length: int) -> Array:
        """Returns which keys the queries at these positions see: the window's, the first, and of both what a mask lets them."""
        positions, behind = np.arange(length), at[:, None]
        seen = (positions <= behind) & ((positions < self.keep_first) | (positions > behind - self.window))
        shown = mask.visible(at, positions) if isinstance(mask, Pattern) else mask
        return seen if shown is None else seen & shown

    def _turned(self, q: Array, at: Array) -> Array:
        return q if self.rotate is None else self.rotate(q, at)

    def _check_held(self, held: Held, start: int, name: str) -> None:
        """Raises ValueError unless all positions from `start` on are held."""
        if max(start, held.tapes["first_keys"].size) < low(held):
            raise ValueError(f"{name}: position {max(start, 0)} is seen and no longer held, the oldest that is held is {low(held)}; "
                             f"step reads a chunk as it is appended, and a ring with more slack holds more")

    def _seen(self, held: Held) -> tuple[Array, Array, Array]:
        keys, values, positions = super()._seen(held)
        early = min(held.tapes["first_keys"].size, low(held))
        if not early:
            return keys, values, positions
        first = (held.tapes[name].rows[..., :early, :] for name in ("first_keys", "first_values"))
        keys, values = (np.concatenate(parts, axis=-2) for parts in zip(first, (keys, values), strict=True))
        return keys, values, np.concatenate((np.arange(early), positions))

    def _cut(self, length: int) -> Held | None:
        held = self._held
        if held is None:
            return None
        if min(length, self.keep_first) < length:
            self._check_held(held, length - self.window, "length")
        kept = {name: tape.without(max(0, tape.size - length) if name.startswith("first") else min(tape.size, held.length - length))
                for name, tape in held.tapes.items()}
        return Held(kept, length)


def low(held: Held) -> int:
    """Returns the position of the oldest of the last keys."""
    return held.length - held.tapes["keys"].size
