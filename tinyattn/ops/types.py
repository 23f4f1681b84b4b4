"""What annotations call an array: NumPy's own, or anything that answers NumPy's protocols."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
