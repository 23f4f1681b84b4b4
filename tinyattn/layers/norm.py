"""Norms with their weights: RMSNorm and LayerNorm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyattn.layers.fused import layer_norm, rms_norm
from tinyattn.ops.checks import real, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class RMSNorm:
    """x / sqrt(mean(x^2) + epsilon) * weight. arXiv:1910.07467.

    >>> RMSNorm.create(2)(np.array([3.0, 4.0])).round(3)
    array([0.849, 1.131])
    """

    weight: Array
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        floating("weight", self.weight)
        object.__setattr__(self, "epsilon", real("epsilon", self.epsilon, least=0.0))

    @classmethod
    def create(cls, width: int, *, epsilon: float = 1e-6) -> RMSNorm:
        """Returns the norm with a weight of ones."""
        return cls(np.ones(whole("width", width, 1), np.float32), epsilon)

    def __call__(self, x: Array) -> Array:
        return rms_norm(x, self.weight, epsilon=self.epsilon)


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, where weight and bias may be None. arXiv:1607.06450.

    >>> LayerNorm.create(2, epsilon=0.0)(np.array([1.0, 3.0]))
    array([-1.,  1.])
    """

    weight: Array | None
    bias: Array | None = None
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name, value in (("weight", self.weight), ("bias", self.bias)):
            if value is not None:
                floating(name, value)
        object.__setattr__(self, "epsilon", real("epsilon", self.epsilon, least=0.0))

    @classmethod
    def create(cls, width: int, *, epsilon: float = 1e-5) -> LayerNorm:
        """Returns the norm with a weight of ones and a bias of zeros."""
        width = whole("width", width, 1)
        return cls(np.ones(width, np.float32), np.zeros(width, np.float32), epsilon)

    def __call__(self, x: Array) -> Array:
        return layer_norm(x, self.weight, self.bias, epsilon=self.epsilon)
