"""Keys and values of some tokens with the gates that belong to each of them: the input of a recurrence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


class Chunk(NamedTuple):
    """Keys and values of some tokens, their gates (options that may have one entry per token), and the other options.

    A token has `each` keys and values, one for each of its steps; a gate has one entry per step or one per token.
    """

    k: Array
    v: Array
    gates: dict[str, Any]
    options: dict[str, Any]
    each: int = 1

    @classmethod
    def of(cls, k: Array, v: Array, options: dict[str, Any], names: Collection[str], each: int = 1) -> Chunk:
        """Returns a chunk with its options, of which those in `names` are gates.

        Raises:
            TypeError, ValueError: a gate that is no number and no floating array with one entry per token or none at all.
        """
        made = cls.sorted(k, v, options, names, each)
        for name, gate in made.gates.items():
            if gate is None or isinstance(gate, (int, float)):
                continue
            floating(name, gate)
            axis = token_axis(gate, k.ndim)
            if gate.ndim > k.ndim or (axis is not None and gate.shape[axis] not in (1, k.shape[-2], k.shape[-2] // each)):
                raise ValueError(f"{name}: expected one entry for each of the chunk's {k.shape[-2] // each} tokens, got shape "
                                 f"{gate.shape}")
        return made

    @classmethod
    def sorted(cls, k: Array, v: Array, options: dict[str, Any], names: Collection[str], each: int = 1) -> Chunk:
        """Returns what `of` returns, of options that are known to fit."""
        gates: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for name, option in options.items():
            (gates if name in names else others)[name] = option
        return cls(k, v, gates, others, each)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys, values and gates."""
        return sum(array.nbytes for array in (self.k, self.v, *self.gates.values()))

    def part(self, start: int, stop: int) -> Chunk:
        """Returns copies of the tokens from start to stop, each with its own gates: the rest may be freed."""
        steps = slice(start * self.each, stop * self.each)

        def cut(gate: Any) -> Array:
            axis = token_axis(gate, self.k.ndim)
            if axis is None:
                return np.array(gate)
            some = steps if gate.shape[axis] == self.k.shape[-2] else slice(start, stop)
            return np.array(gate[..., some] if axis == -1 else gate[..., some, :])

        return Chunk(self.k[..., steps, :].copy(), self.v[..., steps, :].copy(),
                     {name: cut(gate) for name, gate in self.gates.items()}, self.options, self.each)

    def followed_by(self, later: Chunk) -> Chunk:
        """Returns these tokens and later ones."""
        axes = {name: token_axis(gate, self.k.ndim) for name, gate in self.gates.items()}
        gates = {name: np.concatenate((self.gates[name], later.gates[name]), axis=axis) for name, axis in axes.items()
                 if axis is not None}
        return Chunk(np.concatenate((self.k, later.k), axis=-2), np.concatenate((self.v, later.v), axis=-2),
                     later.gates | gates, later.options, self.each)

    def still(self, waiting: Mapping[str, float]) -> Chunk:
        """Returns a token of zeros that reads a state without changing it: no decay, nothing written.

        Its gates are 0, or what `waiting` says.
        """
        def filled(x: Any, axis: int | None, value: float = 0.0) -> Array:
            shape = list(np.shape(x))
            if axis is None:
                return np.full_like(x, value)
            shape[axis] = self.each if shape[axis] == self.k.shape[-2] else 1
            return np.full(shape, value, self.k.dtype)

        return Chunk(filled(self.k, -2), filled(self.v, -2),
                     {name: filled(gate, token_axis(gate, self.k.ndim), waiting.get(name, 0.0)) for name, gate in self.gates.items()},
                     {}, self.each)

    def reordered(self, rows: Array) -> Chunk:
        """Returns the tokens of these rows of the first axis."""
        gates = {name: gate[rows] if np.ndim(gate) > 1 else gate for name, gate in self.gates.items()}
        return Chunk(self.k[rows], self.v[rows], gates, self.options, self.each)


def token_axis(gate: Any, ndim: int, core: str = "") -> int | None:
    """Returns the axis of the tokens in a gate, given the number of axes of the keys: -2, -1, or None if it is the same for all.

    `core` are its core axes where a mechanism declares them: keys of an indexer, "(j,c)", have no heads axis before these two.
    """
    return None if np.ndim(gate) < ndim - 1 else -2 if gate.ndim == ndim or "," in core else -1
