"""Sticks broken tile by tile: what is held and what is made again are alike, no key is read once nothing is left, large shares are 1."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.rows import breaking

RNG = np.random.default_rng


def arguments(q_len=150, kv_len=200, size=0.3, dtype=np.float64):
    rng = RNG(q_len)
    return [(rng.standard_normal((2, heads, length, width)) * factor).astype(dtype)
            for heads, length, width, factor in ((4, q_len, 6, size), (2, kv_len, 6, size), (2, kv_len, 5, 1.0))]


def slopes(door, arrays, **options):
    """Returns the output, the rest, and the gradients by q, k and v of both."""
    both, pull = vjp(lambda t: door.stick_breaking_attention_with_rest(*t, **options), arrays)
    return [*both, *pull(tuple(np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype) for x in both))]


def agree(arrays, **options):
    for a, b in zip(slopes(kernels, arrays, **options), slopes(definitions, arrays, **options), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("room", [0, 1, 4])
@pytest.mark.parametrize("current", [False, True])
def test_tiles_that_are_made_again_give_the_same(current, room, monkeypatch):
    held = []
    monkeypatch.setattr(breaking, "room_of", lambda *given, f=breaking.room_of: held.append(f(*given)) or room)
    agree(arguments(), current=current)
    assert held == [4]  # of 200 keys


@pytest.mark.parametrize("size", [1e-3, 1.0, 40.0])
def test_shares_of_every_size(size):
    agree(arguments(70, 300, size))
    agree(arguments(1, 1, size), current=True)


def test_a_score_whose_exponential_is_no_number_takes_all():
    q, k, v = np.array([[[2e3], [1.0]]]), np.array([[[1.0], [1e3]]]), np.array([[[3.0], [5.0]]])
    for got in (slopes(kernels, [q, k, v], current=True), slopes(kernels, [x.astype(np.float32) for x in (q, k, v)], current=True)):
        np.testing.assert_array_equal(got[0], [[[3.0], [5.0]]])
        for x in got[1:4]:
            np.testing.assert_allclose(x, 0, atol=np.finfo(x.dtype).eps)


def test_no_key_is_read_once_nothing_is_left(monkeypatch):
    q, k, v = arguments(200, 900, 20.0)
    far = v.copy()
    far[:, :, :300] = np.inf
    assert not np.isfinite(kernels.stick_breaking_attention(q, k, far)).any()  # 0 times inf: all keys are read
    want = slopes(kernels, [q, k, v])
    monkeypatch.setattr(breaking, "all_finite", lambda *arrays: True)
    for a, b in zip(slopes(kernels, [q, k, far]), want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_any_number_of_threads_gives_the_same_bits():
    arrays, every = arguments(400, 400, dtype=np.float32), []
    for number in (1, 2, 3):
        with kernels.threads(number):
            every.append(slopes(kernels, arrays))
    for other in every[1:]:
        for a, b in zip(other, every[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_thread_holds_no_more_for_long_texts():
    short, long = (np.empty((1, 1, length, 64), np.float32) for length in (1024, 1 << 20))
    assert breaking.room_of(breaking.sizes_of(short, short, short), short.dtype) == 16
    assert breaking.room_of(breaking.sizes_of(long, long, long), long.dtype) * 64 * 64 * 4 == breaking.HELD_BYTES
