"""Keys and values of some tokens with the gates that belong to each: what is folded into a state."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

# What a mechanism may take besides keys and values, a number or a vector a token.
GATES = {"log_decay", "beta"}
class Chunk(NamedTuple):
    """Keys, values and options of some tokens."""

    k: Array
    v: Array
    options: dict[str, Any]

    def part(self, start: int, stop: int) -> Chunk:
        """Returns copies of the tokens from start to stop, each with its own gates: the rest may be forgotten."""
        gates = {name: np.array(gate if np.ndim(gate) < self.k.ndim - 1 else gate[..., start:stop, :] if gate.ndim == self.k.ndim
                                else gate[..., start:stop]) for name, gate in self.options.items() if name in GATES}
        return Chunk(self.k[..., start:stop, :].copy(), self.v[..., start:stop, :].copy(), self.options | gates)

    def joined(self, later: Chunk) -> Chunk:
        """Returns these tokens and later ones."""
        gates = {name: np.concatenate((gate, later.options[name]), axis=-2 if gate.ndim == self.k.ndim else -1)
                 for name, gate in self.options.items() if name in GATES and np.ndim(gate) >= self.k.ndim - 1}
        return Chunk(np.concatenate((self.k, later.k), axis=-2), np.concatenate((self.v, later.v), axis=-2), later.options | gates)


def check_gates(k: Array, options: dict[str, Any]) -> None:
    """Raises unless every gate is a number or a floating array that has an entry for each token of k, or none at all."""
    for name, gate in options.items():
        if name not in GATES or gate is None or isinstance(gate, (int, float)):
            continue
        floating(name, gate)
        axis = -2 if gate.ndim == k.ndim else -1
        if gate.ndim > k.ndim or (gate.ndim >= k.ndim - 1 and gate.shape[axis] not in (1, k.shape[-2])):
            raise ValueError(f"{name}: expected an entry for each of the chunk's {k.shape[-2]} tokens, got shape {gate.shape}")


def still(chunk: Chunk) -> Chunk:
    """Returns one token of zeros, with gates of 0: nothing fades, nothing is written."""
    def zeros(x: Array, axis: int) -> Array:
        shape = list(x.shape)
        shape[axis] = 1
        return np.zeros(shape, chunk.k.dtype)

    gates = {name: zeros(np.asarray(gate), -2 if np.ndim(gate) == chunk.k.ndim else -1)
             if np.ndim(gate) >= chunk.k.ndim - 1 else np.zeros_like(gate)
             for name, gate in chunk.options.items() if name in GATES}
    return Chunk(zeros(chunk.k, -2), zeros(chunk.v, -2), gates)
