"""The type of an array in annotations: an ndarray, or an object such as a Tensor that follows NumPy's protocols."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
