"""Where the arrays that steps of a training make begin."""

import numpy as np
import pytest

from tinyattn.kernels.steps.registers import fresh
from tinyattn.kernels.tiles.lanes import VECTOR_BYTES


@pytest.mark.parametrize("size", [1, 5, 1000, 1 << 18])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_new_array_begins_where_a_register_of_memory_does(dtype, size):
    made = [fresh(size, dtype) for _ in range(5)]
    assert [x.ctypes.data % VECTOR_BYTES for x in made] == [0] * 5
    assert [(x.size, x.dtype) for x in made] == [(size, dtype)] * 5
