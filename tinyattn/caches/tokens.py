"""TokenCache: keys and values, and the options of the mechanism that have one entry per key."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.caches.checks import check_chunk, check_function
from tinyattn.caches.chunk import token_axis
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.options import Names, check_options, declared, gates_of
from tinyattn.caches.tape import Tape, Tapes
from tinyattn.caches.turns import exclusive
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

# Before the name of a gate: it has one number per channel of each token, or one number per token.
CHANNELS, NUMBERS = "channels.", "numbers."


class TokenCache(GrowingCache):
    """Keeps keys, values and gates: each step gives the gates of its own tokens, and the mechanism gets those of all tokens.

    Gates are the options that `mechanism(q, k, v, **options)` declares as one entry per key, (j) or (j,c) in `@shapes`: how much a
    token forgets, its direction, its key for an indexer. Options that are not gates are given with each query. The first tokens
    decide which gates there are. The cache is exact.

    nbytes = length times the numbers of a token's keys, values and gates, times itemsize and the leading axes.

    Raises:
        TypeError, ValueError: a gate without one entry per token of its chunk, with other axes or another dtype than before, or
            missing where earlier tokens had it, or given where they had none. Nothing is stored then.

    >>> from tinyattn.catalog import find
    >>> cache, x = find("forgetting attention").cache(), np.ones((1, 3, 4))
    >>> cache.step(x, x, x, log_forget=np.zeros((1, 3))).shape, cache.nbytes
    ((1, 3, 4), 216)
    """

    def __init__(self, mechanism: Callable[..., Any]) -> None:
        check_function("mechanism", mechanism, "q, k, v")
        if declared(mechanism) and "causal" not in inspect.signature(mechanism).parameters:
            self.always = {}  # a definition with gates per token and without this option is causal by its formula
        super().__init__(mechanism)
        self._gates = gates_of(mechanism)

    @property
    def _attend_names(self) -> Names:
        return self._names.setting(self._gates)

    def _with_gates(self, k: Array, v: Array, options: dict[str, Any]) -> tuple[Tapes, dict[str, Any]]:
        """Returns the tapes with a chunk's tokens and their gates, and the options that are not gates."""
        before, held, cores, rows = self._held, self._appended(k, v), declared(self.mechanism) or {}, {}
        for name in (name for name in options if name in self._gates):
            gate = floating(name, options[name])
            axis = token_axis(gate, k.ndim, cores.get(name, ""))
            if axis is None or gate.ndim > k.ndim or gate.shape[axis] != k.shape[-2]:
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
        return Tapes(held.tapes | {name: old[name].extended(x) for name, x in rows.items()}, held.length), {
            name: option for name, option in options.items() if name not in self._gates}

    @exclusive
    def append(self, k: Array, v: Array, **gates: Any) -> None:
        """Stores n more tokens with their gates."""
        known, needed, own = self._names
        names = Names(self._gates if known is None else known & self._gates, needed & self._gates, own)
        self._held, _ = self._with_gates(k, v, checked("append", gates, names))

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk with its gates and returns the attention of its queries."""
        held, others = self._with_gates(k, v, checked("step", options, self._names))
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
        return held if before is None else held._replace(tapes=held.tapes | gates_held(before))

    def _loaded(self, arrays: dict[str, Array]) -> Tapes:
        held = super()._loaded(arrays)
        gates = {name: Tape.of(x) for name, x in arrays.items() if name.startswith((CHANNELS, NUMBERS))}
        for name in self._names.needed & self._gates:
            if not {CHANNELS + name, NUMBERS + name} & gates.keys():
                raise KeyError(name)
        for name, tape in gates.items():
            if tape.size != held.length:
                raise ValueError(f"{name}: a file's arrays do not fit each other: it has {tape.size} of {held.length} tokens")
        return held._replace(tapes=held.tapes | gates)


def checked(method: str, options: dict[str, Any], names: Names) -> dict[str, Any]:
    """Returns the options without those that are None.

    Raises:
        TypeError: as `check_options`, and for None where the mechanism needs an option.
    """
    given = {name: option for name, option in options.items() if option is not None}
    check_options(method, {name: option for name, option in options.items() if name in given or name not in names.needed}, names)
    return given


def gates_held(held: Tapes) -> dict[str, Tape]:
    """Returns the tapes of the gates, by the names that they have in a file."""
    return {name: tape for name, tape in held.tapes.items() if name.startswith((CHANNELS, NUMBERS))}
