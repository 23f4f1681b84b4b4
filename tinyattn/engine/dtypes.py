"""The dtypes of a Tensor: three of NumPy's own, and bfloat16, which is recognised by its name, as NumPy has none."""

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
    """Returns the dtype in which the gradient of an array travels: float32 for the two dtypes of 16 bits.

    A sum of 70,000 gradients overflows float16, and in bfloat16 it soon stops growing. Only the gradient of a leaf is
    rounded to 16 bits.
    """
    return SINGLE if dtype.itemsize == 2 else dtype
