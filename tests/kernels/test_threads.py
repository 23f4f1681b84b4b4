"""Threads of the kernels: their number is checked, and many callers at once get what one gets."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinyattn import kernels
from tinyattn.laws.problem import Sizes, arrays

RNG = np.random.default_rng


def test_threads_are_counted_and_refused(monkeypatch):
    with pytest.raises(ValueError, match="number: expected 1 or more, got 0"), kernels.threads(0):
        pass
    with pytest.raises(TypeError, match="number: expected an int"), kernels.threads(2.0):
        pass
    monkeypatch.setenv("TINYATTN_THREADS", "many")
    with pytest.raises(ValueError, match="TINYATTN_THREADS: expected a number"):
        kernels.attention(np.ones((1, 2)), np.ones((2, 2)), np.ones((2, 2)))


def test_eight_python_threads_at_once():
    p = arrays(RNG(0), Sizes((2,), 2, 2, 300, 300, 16, 16), causal=True)
    want = p.call(kernels.attention)
    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(p.call, kernels.attention) for _ in range(16)]:
            np.testing.assert_array_equal(job.result(), want)
