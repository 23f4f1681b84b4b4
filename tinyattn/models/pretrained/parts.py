"""The parts of a model by their names in a file: matrices and norms, and what is missing, does not fit or is never taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn.layers.affine import Affine
from tinyattn.layers.mixed import same
from tinyattn.layers.norm import LayerNorm, RMSNorm
from tinyattn.models.pretrained.families import Family
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.types import Array

# The code of a placeholder for a missing tensor, so that one error can name all that are missing.
MISSING = "missing"


class Parts:
    """Takes tensors by the names of their parts, and notes those that are missing, have a wrong shape, or are never taken."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Stored], dtype: Any, family: Family) -> None:
        self.config, self.family, self.dtype = config, family, np.dtype(dtype)
        self.tensors, self.biases = prefixed(tensors, family), family.biases(config)
        self.names, self.taken, self.faults = family.names, set[str](), list[str]()

    def take(self, name: str, shape: tuple[int, ...]) -> Stored:
        """Returns a tensor; where it is missing or has another shape, that is noted, and an empty one stands in its place."""
        self.taken.add(name)
        stored = self.tensors.get(name)
        if stored is not None and stored.shape == shape:
            return stored
        self.faults.append(f"missing {name} {shape}" if stored is None else f"{name}: expected {shape}, got {stored.shape}")
        return Stored(name, MISSING, shape, np.zeros(0, np.uint8))

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        """Returns a small tensor as an array of the dtype in which the model computes."""
        stored = self.take(name, shape)
        return np.broadcast_to(self.dtype.type(0), shape) if stored.code == MISSING else stored.array(self.dtype)

    def affine(self, part: str, prefix: str, outputs: int, inputs: int) -> Affine:
        """Returns a matrix with its bias, if this part has one."""
        name = prefix + self.names[part]
        shape = (inputs, outputs) if self.family.transposed else (outputs, inputs)
        weight = self.array(f"{name}.weight", shape).T if self.family.transposed else self.take(f"{name}.weight", shape)
        fused = {"qkv": "q", "gate_up": "up"}.get(part, part)
        return Affine(weight, self.array(f"{name}.bias", (outputs,)) if fused in self.biases else None)

    def norm(self, part: str, prefix: str, width: int) -> Callable[[Array], Array]:
        """Returns a norm, or `same` where the family has none in this place."""
        if part not in self.names:
            return same
        kind, key = self.family.norm, self.family.epsilon
        epsilon = self.config[key] if isinstance(key, str) else key
        if kind == "none":
            return LayerNorm(None, None, epsilon)
        weight = self.array(f"{prefix}{self.names[part]}.weight", (width,))
        if kind.startswith("rms"):
            return RMSNorm(weight + 1 if kind == "rms + 1" else weight, epsilon)
        return LayerNorm(weight, self.array(f"{prefix}{self.names[part]}.bias", (width,)) if kind == "layer" else None, epsilon)


def prefixed(tensors: Mapping[str, Stored], family: Family) -> Mapping[str, Stored]:
    """Returns the tensors by their full names: some files leave out the prefix that all names of a family have."""
    if any(name.startswith(family.prefix) for name in tensors):
        return tensors
    heads = {f"{family.names['head']}.weight"} if "head" in family.names else set[str]()
    return {name if name in heads else family.prefix + name: stored for name, stored in tensors.items()}


def cut(matrix: Affine, rows: Array) -> Affine:
    """Returns some of the outputs of a matrix.

    >>> cut(Affine(np.eye(3), np.arange(3.0)), np.array([2]))(np.ones(3))
    array([3.])
    """
    weight = matrix.weight
    return Affine(weight.reordered(rows) if isinstance(weight, Stored) else weight[rows],
                  None if matrix.bias is None else matrix.bias[rows])
