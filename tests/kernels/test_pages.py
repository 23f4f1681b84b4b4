"""Large arrays on pages that earlier arrays gave back: whose they are, how many wait, and that no kernel reads what was on them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.kernels.everywhere import NAMES, OWN, SMALL, slopes
from tinyattn import definitions, kernels
from tinyattn.kernels.tiles import pages

LARGE = pages.LEAST // 4


@pytest.fixture(autouse=True)
def no_pages_wait():
    pages.kept.clear()


def place(x):
    return x.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.bool_, "i1,f8"], ids=str)
@pytest.mark.parametrize("shape", [(3, 5, 1 << 17), (1 << 21,), 1 << 21])
def test_a_large_array_is_what_numpy_makes(shape, dtype):
    want = np.empty(shape, dtype)
    for x in (pages.empty(shape, dtype), pages.zeros(shape, dtype)):
        assert type(x) is np.ndarray
        assert (x.shape, x.strides, x.dtype) == (want.shape, want.strides, want.dtype)
        assert x.flags.writeable and x.flags.aligned and x.flags.c_contiguous


@pytest.mark.parametrize("shape", [(), (0,), (4, 0), (2, 3), 5, 0])
def test_a_small_array_is_numpys_own(shape):
    for x in (pages.empty(shape), pages.zeros(shape)):
        assert x.shape == np.empty(shape).shape and x.dtype == np.float64 and x.flags.owndata
    assert not pages.kept


def test_pages_come_back_when_the_last_array_on_them_is_gone():
    x = pages.empty(LARGE, np.float32)
    where = place(x)
    part = x[3:].reshape(-1, 1).view(np.int32)[5:]
    del x
    assert not pages.kept
    other = pages.empty(LARGE, np.float32)
    assert place(other) != where
    del part
    assert place(pages.empty((2, LARGE // 4), np.float64)) == where  # another shape and dtype, as many bytes


def test_zeros_are_zeros_on_pages_that_hold_other_numbers():
    x = pages.empty(3 * LARGE + 1, np.float32)
    x.fill(np.nan)
    where = place(x)
    del x
    x = pages.zeros(3 * LARGE + 1, np.float32)
    assert place(x) == where and not x.any()


def test_pages_in_use_and_pages_that_wait_are_never_more_than_were_in_use_at_once():
    rng, live, most = np.random.default_rng(0), [], 0
    for _ in range(400):
        if live and rng.random() < 0.5:
            live.pop(rng.integers(len(live)))
        else:
            live.append(pages.empty(int(rng.integers(1, 5)) * LARGE, np.float32))
        used, waiting = (sum(x.nbytes for x in xs) for xs in (live, pages.kept.values()))
        most = max(most, used)
        assert used + waiting <= most
    assert pages.kept  # else nothing was seen


def test_pages_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr(pages, "MOST", 4 * pages.LEAST)
    live = [pages.empty(LARGE, np.float32) for _ in range(7)]
    last = [place(x) for x in live[3:]]
    while live:
        del live[0]
    assert [place(x) for x in pages.kept.values()] == last  # those that came back first were freed


def test_arrays_of_many_threads_never_share_pages():
    def task(number):
        for turn in range(200):
            x = pages.empty(LARGE * (1 + turn % 2), np.float32)
            x.fill(number)
            y = pages.zeros(LARGE, np.float32)
            assert (x == number).all() and not y.any()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(task, range(1, 5)))


def test_a_result_stays_as_it_is_through_later_calls():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 2, 2100, 64)).astype(np.float32)
    first = kernels.attention(q, k, v, causal=True)[..., 1:, :]
    copy = first.copy()
    for _ in range(3):
        kernels.attention(k, v, q, causal=True)
        np.testing.assert_array_equal(first, copy)


@pytest.mark.parametrize("name", NAMES)
def test_no_kernel_reads_what_was_on_its_pages(name, monkeypatch):
    monkeypatch.setattr(pages, "LEAST", 1)
    row = OWN[getattr(definitions, name)]

    def answers(byte):
        monkeypatch.setattr(pages, "taken", lambda size: np.full(size, byte, np.uint8))
        return [slopes(row.called(getattr(kernels, name)), row.sample(np.random.default_rng(at), row.fit(given)).astype(np.float32))
                for at, given in enumerate(SMALL)]

    for clean, dirty in zip(answers(0), answers(255), strict=True):  # bytes of 255 are NaN
        for array, value in clean.items():
            np.testing.assert_array_equal(dirty[array], value, err_msg=array)
