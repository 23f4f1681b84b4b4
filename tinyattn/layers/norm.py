"""RMSNorm with its weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.norm import rms_norm
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class RMSNorm:
    """x / sqrt(mean(x^2) + epsilon) * weight. arXiv:1910.07467.

    >>> RMSNorm.create(2)(np.array([3.0, 4.0])).round(3)
    array([0.849, 1.131])
    """

    weight: Array

    def __post_init__(self) -> None:
        floating("weight", self.weight)

    @classmethod
    def create(cls, width: int) -> RMSNorm:
        """Returns the norm with a weight of ones."""
        return cls(np.ones(whole("width", width, 1), np.float32))

    def __call__(self, x: Array) -> Array:
        return rms_norm(x, self.weight)
