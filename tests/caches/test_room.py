"""How much memory a cache takes, and what it moves: room grows rarely, and a view or a fork never changes under its owner."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tinyattn.caches import FixedCache, GrowingCache, PagePool, QuantizedCache, RingCache
from tinyattn.caches.tape import Tape

_spec = importlib.util.spec_from_file_location("tokens", Path(__file__).with_name("tokens.py"))
tokens = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tokens)
drawn, filled = tokens.drawn, tokens.filled


def test_growth_is_rare():
    cache, buffers = GrowingCache(), 0
    for _ in range(2000):
        before = cache.allocated
        cache.append(np.ones((1, 2, 1, 4), np.float32), np.ones((1, 2, 1, 3), np.float32))
        buffers += cache.allocated != before
        assert cache.allocated <= 2 * cache.nbytes
    assert buffers <= 12


def test_a_fixed_cache_is_one_buffer_for_good():
    cache, _ = filled(FixedCache(40), 3)
    buffer = cache._held.tapes["keys"].buffer
    for back in (0, 2, 1):
        cache.append(*drawn(4)[1:])
        cache.truncate(cache.length - back)
        assert cache._held.tapes["keys"].buffer is buffer
    assert cache.allocated == 40 * 2 * 2 * 9 * 8


def test_a_ring_is_as_large_after_ten_thousand_tokens_as_after_ten():
    cache, x = RingCache(4, keep_first=2, slack=1), np.ones((1, 1, 1, 2))
    most = 0
    for n in range(10_000):
        cache.append(x, x * n)
        most = max(most, cache.allocated)
    assert cache.nbytes == 7 * 4 * 8
    assert most <= 4 * cache.nbytes
    cache.append(np.ones((1, 1, 5_000, 2)), np.ones((1, 1, 5_000, 2)))
    assert cache.allocated <= 4 * cache.nbytes


@pytest.mark.parametrize("make", [GrowingCache, lambda: FixedCache(64), lambda: RingCache(9)])
def test_views_outlive_what_comes_after(make):
    cache, (_, k, v) = filled(make())
    keys, values, positions = cache.view()
    with pytest.raises(ValueError, match="read-only"):
        keys[0] = 1.0
    cache.append(*drawn(1)[1:])
    cache.truncate(2)
    cache.append(*drawn(3)[1:])
    np.testing.assert_array_equal(keys, k)
    np.testing.assert_array_equal(values, v)
    np.testing.assert_array_equal(positions, np.arange(5))


@pytest.mark.parametrize("make", [GrowingCache, lambda: FixedCache(64), lambda: RingCache(4, keep_first=2, slack=4),
                                  lambda: PagePool(64, 3).sequence(), lambda: QuantizedCache(group=2, residual=4)])
def test_a_fork_that_goes_back_does_not_write_over_its_parent(make):
    parent, _ = filled(make(), 9)
    before = [array.tobytes() for array in parent._saved().values()]
    child = parent.fork()
    child.truncate(6)
    child.append(*drawn(2)[1:])
    assert [array.tobytes() for array in parent._saved().values()] == before
    parent.truncate(6)
    after = [array.tobytes() for array in child._saved().values()]
    parent.append(*drawn(2)[1:])
    assert [array.tobytes() for array in child._saved().values()] == after


def test_a_tape_moves_only_what_is_held():
    tape = Tape.like(np.ones((2, 1, 3)))
    for n in range(50):
        tape = tape.extended(np.full((2, 1, 3), float(n))).last(4)
        assert tape.buffer.shape[-2] <= 10
    np.testing.assert_array_equal(tape.rows[0, :, 0], [46, 47, 48, 49])
    copy = tape.shared()
    other = copy.extended(np.zeros((2, 1, 3)))
    assert not np.shares_memory(other.buffer, tape.buffer)
    lent = tape.lent()
    assert not np.shares_memory(lent.without(1).extended(np.zeros((2, 1, 3))).buffer, tape.buffer)
    assert tape.extended(np.zeros((2, 0, 3))) is tape


def test_bytes_of_codes_are_a_quarter_and_an_eighth():
    x = np.ones((1, 2, 4096, 64), np.float32)
    for bits, share in ((8, 4), (4, 8)):
        cache = QuantizedCache(bits=bits, group=64, residual=0)
        cache.append(x, x)
        scales = 2 * 4 * 2 * (4096 // 64 * 64 + 4096)
        assert cache.nbytes == 2 * x.nbytes // share + scales


def test_recent_tokens_before_they_are_codes_leave_no_room_behind():
    cache, x = QuantizedCache(bits=8, group=2, residual=4), np.ones((1, 1, 5_000, 2))
    cache.append(x, x)
    cache.step(x, x, x)
    for name in ("keys", "values"):
        assert cache._held.tapes[name].buffer.shape[-2] <= 4 * (2 + 4)
