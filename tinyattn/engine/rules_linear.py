"""Derivatives of products."""

import numpy as np

from tinyattn.engine.table import rule

rule(np.matmul, lambda a, b: lambda g: g @ np.swapaxes(b, -1, -2),
                lambda a, b: lambda g: np.swapaxes(a, -1, -2) @ g)
