"""Threads of the kernels: their number is checked, and many callers at once get what one gets."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tinyattn import kernels, vjp
from tinyattn.kernels.tiles.blas import controller, each_multiplying, one_thread_per_product
from tinyattn.kernels.tiles.threads import LEAST_SIZE, each, threads
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


def products_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_products_of_several_tasks_take_one_thread_each_and_then_as_many_as_before():
    with threadpool_limits(2, user_api="blas"), threads(2):
        before, seen, alone = products_threads(), [], []
        each_multiplying(lambda n: seen.append(products_threads()), 2, LEAST_SIZE)
        each_multiplying(lambda n: alone.append(products_threads()), 1, LEAST_SIZE)
        assert before == {2}
        assert seen == [{1}, {1}]
        assert alone == [before]
        assert products_threads() == before


def test_a_second_caller_leaves_the_number_of_threads_to_the_first():
    with threadpool_limits(2, user_api="blas"):
        with one_thread_per_product(), one_thread_per_product():
            inside = products_threads()
        assert inside == {1}
        assert products_threads() == {2}


def test_without_threadpoolctl_tasks_run_as_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    controller.cache_clear()
    done = []
    with threads(2):
        each_multiplying(done.append, 3, LEAST_SIZE)
    controller.cache_clear()
    assert sorted(done) == [0, 1, 2]


def test_tasks_ignore_what_their_caller_ignores():
    seen = []
    with np.errstate(over="raise", under="ignore", divide="ignore", invalid="raise"), threads(3):
        each(lambda n: seen.append(np.geterr()), 3, LEAST_SIZE)
        assert seen == [np.geterr()] * 3


@pytest.mark.parametrize("name", ["sparsemax_attention", "stick_breaking_attention", "sigmoid_attention"])
def test_infinite_keys_of_a_long_text_warn_of_nothing(name):
    q, k = RNG(0).standard_normal((2, 2, 300, 16)).astype(np.float32)
    k[0, 5] = np.inf
    with threads(2):
        out, pull = vjp(lambda t: getattr(kernels, name)(*t), (q, k, k))
        assert np.isnan(pull(out)[0][0]).any()
