"""SwiGLU: a gated feed-forward layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from tinyattn.layers.fused import feed_forward, swiglu
from tinyattn.layers.linear import normal, project, projections
from tinyattn.ops.checks import whole
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class SwiGLU:
    """(silu(x gate) * (x up)) down. arXiv:2002.05202.

    x (..., width) -> the same shape.

    >>> SwiGLU.create(np.random.default_rng(0), 4, 8)(np.ones((2, 4), np.float32)).shape
    (2, 4)
    """

    gate: Array
    up: Array
    down: Array

    def __post_init__(self) -> None:
        gate, up = (floating(name, x).shape for name, x in (("gate", self.gate), ("up", self.up)))
        floating("down", self.down)
        if gate != up:
            raise ValueError(f"gate: expected the shape of up {up}, got {gate}")

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, hidden: int, *, deviation: float = 0.02) -> SwiGLU:
        """Returns the layer with normal weights; `deviation` is that of the last matrix, `down`."""
        width, hidden = whole("width", width, 1), whole("hidden", hidden, 1)
        return cls(normal(rng, width, hidden), normal(rng, width, hidden),
                   normal(rng, hidden, width, deviation=deviation))

    def __call__(self, x: Array) -> Array:
        return self._computed(x) if type(x) is ndarray and x.itemsize != 2 else self._widened(x)

    @widened
    def _widened(self, x: Array) -> Array:
        """Returns the output for tokens of any dtype; float16 and bfloat16 are computed in float32."""
        return self._computed(x)

    def _computed(self, x: Array) -> Array:
        """Returns the output, computed in the dtype of the tokens."""
        made = feed_forward(x, self.gate, self.up, self.down)
        return project(swiglu(*projections(x, self.gate, self.up)), self.down) if made is None else made
