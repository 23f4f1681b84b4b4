"""An array from one of its numbers on is what a slice gives: the same numbers, the same memory, held as long as it is read."""

import numpy as np
import pytest

from tinyattn.kernels.states.onward import onward, shortened_in_numpy
from tinyattn.kernels.tiles.jit import DISABLED, compiled


@compiled
def written(x, at):
    """Writes to the rest of x from `at` on."""
    rest = onward(x, at)
    for n in range(rest.size):
        rest[n] = n + 1
    return rest.size, rest.shape[0]


@compiled
def kept(count, at):
    """Returns the rest of an array that nothing else holds."""
    return onward(np.arange(count), at)


@pytest.mark.parametrize("at", [0, 1, 4, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_what_a_slice_is(dtype, at):
    x, expected = np.zeros(5, dtype), np.zeros(5, dtype)
    expected[at:] = np.arange(1, 6 - at)
    assert written(x, at) == (5 - at, 5 - at) and (x == expected).all()
    assert np.shares_memory(shortened_in_numpy(x, at), x) == (at < 5)


@pytest.mark.skipif(DISABLED, reason="nothing is compiled")
def test_it_holds_its_memory():
    rests = [kept(1000, n) for n in range(100)]
    assert all((rest == np.arange(n, 1000)).all() for n, rest in enumerate(rests))
