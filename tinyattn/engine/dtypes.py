"""The dtypes of a Tensor: three that NumPy computes with, and bfloat16, which is known by its name alone."""

from __future__ import annotations

from typing import Any

import numpy as np

SINGLE = np.dtype(np.float32)
NAMES = "float16, bfloat16, float32 or float64"


def floating(dtype: np.dtype[Any]) -> bool:
    """Returns whether an array of this dtype can be differentiated, whatever its byte order.

    >>> floating(np.dtype(">f4")), floating(np.dtype(np.longdouble)), floating(np.dtype(int))
    (True, False, False)
    """
    return dtype.char in "efd" or dtype.name == "bfloat16"


def carried(dtype: Any) -> Any:
    """Returns the dtype in which gradients of an array travel: float32 for the two dtypes of 16 bits.

    A sum of 70,000 gradients overflows float16 and stands still in bfloat16; only a leaf's gradient is rounded.
    """
    return SINGLE if dtype.itemsize == 2 else dtype
