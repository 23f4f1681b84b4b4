"""TokenCache: keys and values, and the options of the mechanism that have one entry per key."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.caches.checks import check_chunk
from tinyattn.caches.chunk import Chunk, token_axis
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.options import Names, check_options, declared, gates_of
from tinyattn.caches.tape import Tape, Tapes
from tinyattn.caches.turns import exclusive
from tinyattn.ops.types import Array

# Before the name of a gate: it has one number per channel of each token, or one number per token.
CHANNELS, NUMBERS = "channels.", "numbers."


class TokenCache(GrowingCache):
    """Keeps keys, values and gates: each step gives the gates of its own tokens, and the mechanism gets those of all tokens.

    It is exact. nbytes = length times the numbers of a token's keys, values and gates, times itemsize and the leading axes. The
    first tokens decide which gates there are. Options that are not gates are given with each query.

    Raises:
        TypeError, ValueError: a gate without one entry per token of its chunk, with other axes or another dtype than before, or
            missing where earlier tokens had it, or given where they had none. Nothing is stored then.

    >>> from tinyattn.catalog import find
    >>> cache, x = find("forgetting attention").cache(), np.ones((1, 3, 4))
    >>> cache.step(x, x, x, log_forget=np.zeros((1, 3))).shape, cache.nbytes
    ((1, 3, 4), 216)
    """

    def __init__(self, mechanism: Callable[..., Any]) -> None:
        super().__init__(mechanism)
        self._gates = gates_of(mechanism)
        if declared(mechanism) and "causal" not in inspect.signature(mechanism).parameters:
            self.always = {}  # a definition with gates per token and without this option is causal by its formula

    @property
    def _attend_names(self) -> Names:
        known, needed, own = self._names
        return Names(None if known is None else known - self._gates, needed - self._gates, own | self._gates)

    def _with_gates(self, k: Array, v: Array, options: dict[str, Any]) -> tuple[Tapes, dict[str, Any]]:
        """Returns the tapes with a chunk's tokens and their gates, and the options that are not gates."""
        before, held = self._held, self._appended(k, v)
        chunk, rows = Chunk.of(k, v, {name: option for name, option in options.items() if option is not None}, self._gates), {}
        for name, gate in chunk.gates.items():
            axis = token_axis(gate, k.ndim)
            if axis is None or gate.shape[axis] != k.shape[-2]:
                raise ValueError(f"{name}: expected one entry for each of the chunk's {k.shape[-2]} tokens, got {np.shape(gate)}")
            rows[(CHANNELS if axis == -2 else NUMBERS) + name] = gate if axis == -2 else gate[..., None]
        old = {name: Tape.like(x) for name, x in rows.items()} if before is None else gates_held(before)
        if old.keys() != rows.keys():
            names = sorted(name.partition(".")[2] for name in old.keys() ^ rows.keys())
            raise ValueError(f"{', '.join(names)}: expected with every token, in one shape, or with none")
        for name, x in rows.items():
            like = old[name].buffer
            if (like.shape[:-2], like.shape[-1], like.dtype) != (x.shape[:-2], x.shape[-1], x.dtype):
                raise ValueError(f"{name.partition('.')[2]}: expected the shape and dtype of the tokens before, got {x.dtype} numbers "
                                 f"for heads {x.shape[:-2]}")
        return Tapes(held.tapes | {name: old[name].extended(x) for name, x in rows.items()}, held.length), chunk.options

    @exclusive
    def append(self, k: Array, v: Array, **gates: Any) -> None:
        """Stores n more tokens with their gates."""
        check_options("append", gates, self._names)
        self._held, _ = self._with_gates(k, v, gates)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk with its gates and returns the attention of its queries."""
        check_options("step", options, self._names)
        held, others = self._with_gates(k, v, options)
        check_chunk(q, held.length - self.length)
        out = self._attended(self._fitting(q, held.like[0]), held, others)
        self._held = held
        return out

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        gates = {name.partition(".")[2]: tape.rows if name.startswith(CHANNELS) else tape.rows[..., 0]
                 for name, tape in gates_held(held).items()}
        return super()._attended(q, held, {**gates, **options})

    def _appended(self, k: Array, v: Array) -> Tapes:
        held, before = super()._appended(k, v), self._held
        return held if before is None else held._replace(tapes=gates_held(before) | held.tapes)

    def _loaded(self, arrays: dict[str, Array]) -> Tapes:
        held = super()._loaded(arrays)
        gates = {name: Tape.of(x) for name, x in arrays.items() if name.startswith((CHANNELS, NUMBERS))}
        return held._replace(tapes=held.tapes | gates)


def gates_held(held: Tapes) -> dict[str, Tape]:
    """Returns the tapes of the gates, by the names that they have in a file."""
    return {name: tape for name, tape in held.tapes.items() if name.startswith((CHANNELS, NUMBERS))}
