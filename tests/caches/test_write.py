"""FixedCache.write: tokens at any positions of the buffer; unwritten slots hold 0; nothing that somebody reads changes."""

import ml_dtypes
import numpy as np
import pytest

from tinyattn import Tensor, definitions
from tinyattn.caches import FixedCache
from tinyattn.caches.protocol import CapacityError

RNG = np.random.default_rng(0)


def tokens(n, lead=(2,), dtype=np.float64):
    return RNG.standard_normal((*lead, 3, n, 4)).astype(dtype), RNG.standard_normal((*lead, 3, n, 5)).astype(dtype)


def saved(cache):
    return {name: array.tobytes() for name, array in cache._saved().items()}


class Slots:
    """The same in plain arrays: what a cache must hold."""

    def __init__(self, capacity, lead=(2,), dtype=np.float64):
        self.k, self.v, self.length = np.zeros((*lead, 3, capacity, 4), dtype), np.zeros((*lead, 3, capacity, 5), dtype), 0

    def write(self, positions, k, v):
        rows = np.broadcast_to(positions, (*k.shape[:-3], k.shape[-2]))
        for lead in np.ndindex(rows.shape[:-1]):
            for n, at in enumerate(rows[lead]):
                self.k[lead][:, at], self.v[lead][:, at] = k[lead][:, n], v[lead][:, n]
        self.length = max([self.length, *(int(at) + 1 for at in positions.ravel())])

    def truncate(self, length):
        self.k[..., length:, :], self.v[..., length:, :], self.length = 0, 0, length

    def agree(self, cache):
        keys, values, positions = cache.view()
        np.testing.assert_array_equal(keys, self.k[..., : self.length, :])
        np.testing.assert_array_equal(values, self.v[..., : self.length, :])
        np.testing.assert_array_equal(positions, np.arange(self.length))
        assert cache.length == self.length


@pytest.mark.parametrize("lead", [(), (2,), (2, 3), (0,)])
@pytest.mark.parametrize("looked", [False, True])
def test_a_cache_holds_what_is_written_wherever_it_is_written(lead, looked):
    cache, slots, rng = FixedCache(12), Slots(12, lead), np.random.default_rng(1)
    for step in range(24):
        n = int(rng.integers(0, 5))
        positions = rng.permuted(np.broadcast_to(np.arange(12), (*lead, 12)), axis=-1)[..., :n] if step % 2 else rng.permutation(12)[:n]
        k, v = tokens(n, lead)
        if step % 7 == 6 and slots.length:
            length = int(rng.integers(0, slots.length + 1))
            cache.truncate(length)
            slots.truncate(length)
        if step % 5 == 4 and slots.length + n <= 12:
            cache.append(k, v)
            slots.write(slots.length + np.arange(n), k, v)
        else:
            cache.write(positions.astype(rng.choice([np.int64, np.uint8, np.int16])), k, v)
            slots.write(positions, k, v)
        if looked and slots.length:
            slots.agree(cache)
    if cache._held is not None and cache.length:
        slots.agree(cache)
    assert cache.allocated <= 12 * slots.k[..., :1, :].nbytes + 12 * slots.v[..., :1, :].nbytes


def test_slots_that_were_never_written_hold_zeros_that_a_mask_hides():
    cache, (k, v) = FixedCache(8), tokens(3)
    positions = np.array([[6, 0, 2], [1, 0, 3]])
    cache.write(positions, k, v)
    assert cache.length == 7
    q = RNG.standard_normal((2, 3, 1, 4))
    held = np.zeros((2, 1, 1, 7), bool)
    np.put_along_axis(held, positions[:, None, None], True, axis=-1)
    for row in range(2):
        want = definitions.attention(q[row], k[row], v[row])
        np.testing.assert_allclose(cache.attend(q, mask=held)[row], want, rtol=0, atol=1e-14)
    assert np.abs(cache.attend(q)[1] - definitions.attention(q[1], k[1], v[1])).max() > 1e-3  # zeros take part where nothing hides them


def test_what_is_shown_shared_or_came_in_never_changes():
    cache, (k, v) = FixedCache(8), tokens(4)
    cache.append(k, v)
    shown, twin = cache.view()[0], cache.fork()
    before, wanted = saved(twin), shown.copy()
    more = tokens(2)
    cache.write(np.array([1, 5]), *more)
    np.testing.assert_array_equal(shown, wanted)
    assert saved(twin) == before
    after = saved(cache)
    twin.write(np.array([7, 0]), *tokens(2))
    assert saved(cache) == after
    for array in (*more, k, v):
        array[...] = 9.0
    assert saved(cache) == after
    cache.truncate(2)
    kept = cache.view()[0].copy()
    shown = twin.view()[0]
    wanted = shown.copy()
    twin.truncate(1)
    twin.write(np.array([7]), *tokens(1))  # the slots between are 0 again, and the rows that are shown stay
    np.testing.assert_array_equal(shown, wanted)
    assert not twin.view()[0][..., 1:7, :].any()
    np.testing.assert_array_equal(cache.view()[0], kept)


def test_writing_behind_the_length_moves_nothing(monkeypatch):
    cache = FixedCache(1000)
    cache.append(*tokens(1))
    place = cache._held.tapes["keys"].buffer
    for n in range(1, 50):
        cache.write(np.array([2 * n, 2 * n - 1]), *tokens(2))
    assert cache._held.tapes["keys"].buffer is place
    cache.write(np.array([3]), *tokens(1))
    assert cache._held.tapes["keys"].buffer is not place
    assert cache.allocated == 1000 * 2 * 3 * 9 * 8


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_every_stored_dtype_is_written_as_it_came(dtype, tmp_path):
    cache, (k, v) = FixedCache(4), tokens(2, dtype=dtype)
    cache.write(np.array([2, 0]), k, v)
    keys, values, _ = cache.view()
    assert (keys.dtype, values.dtype) == (dtype, dtype)
    np.testing.assert_array_equal(keys[..., [2, 0], :], k)
    cache.save(tmp_path / "cache")
    assert saved(FixedCache.load(tmp_path / "cache")) == saved(cache)
    cache.reorder(np.array([1, 1]))
    np.testing.assert_array_equal(cache.view()[1][0], values[1])


@pytest.mark.parametrize(("positions", "error", "words"), [
    ([0, 1], TypeError, "positions: expected an integer array, got list"), (np.array([0.0, 1.0]), TypeError, "positions: expected an integer array, got float64"),
    (np.array([True, False]), TypeError, "positions: expected an integer array, got bool"), (3, TypeError, "positions: expected an integer array, got int"),
    (np.arange(3), ValueError, r"positions: expected shape \(2,\), or \(2, 2\) with a row per sequence, for k .*, got \(3,\)"),
    (np.arange(2)[None], ValueError, r"positions: expected shape \(2,\).*got \(1, 2\)"), (np.arange(4).reshape(2, 2, 1), ValueError, r"got \(2, 2, 1\)"),
    (np.array([0, -1]), ValueError, "positions: expected positions from 0 on, got -1"), (np.array([0, 8]), CapacityError, "positions: expected positions below the capacity 8, got 8"),
    (np.array([1, 1 << 63], np.uint64), CapacityError, "below the capacity 8, got 9223372036854775808"),
    (np.array([5, 5]), ValueError, "positions: expected each position once in a row, got 5 twice"), (np.array([[0, 1], [4, 4]]), ValueError, "got 4 twice"),
])
def test_positions_that_cannot_be_written_are_named_and_change_nothing(positions, error, words):
    for filled in (False, True):
        cache = FixedCache(8)
        if filled:
            cache.append(*tokens(4))
        before = saved(cache)
        with pytest.raises(error, match=words):
            cache.write(positions, *tokens(2))
        assert saved(cache) == before


@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda k, v: (Tensor(k), v), TypeError, "k: expected an array, got Tensor; a cache holds plain arrays, give its .value"),
    (lambda k, v: (k, v.astype(np.float32)), TypeError, "v: expected the dtype of k, float64, got float32"), (lambda k, v: (k.astype(int), v), TypeError, "k: "),
    (lambda k, v: (k, v[..., :1, :]), ValueError, "v: expected"), (lambda k, v: (k[:1], v[:1]), ValueError, "k: this cache holds"),
    (lambda k, v: (k[..., :3], v), ValueError, "k: this cache holds"), (lambda k, v: (k.astype(np.float32), v.astype(np.float32)), TypeError, "k: this cache holds float64, got float32"),
])
def test_tokens_that_do_not_fit_are_named_and_change_nothing(change, error, words):
    cache = FixedCache(8)
    cache.append(*tokens(4))
    before = saved(cache)
    with pytest.raises(error, match=words):
        cache.write(np.array([1, 6]), *change(*tokens(2)))
    assert saved(cache) == before


def test_a_write_that_runs_out_of_memory_changes_nothing(monkeypatch):
    cache = FixedCache(8)
    cache.append(*tokens(4))
    before = saved(cache)
    real, calls = np.put_along_axis, []

    def fails(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        real(*arguments, **options)

    for positions in (np.array([1, 6]), np.array([5, 6])):
        calls.clear()
        monkeypatch.setattr(np, "put_along_axis", fails)
        with pytest.raises(MemoryError):
            cache.write(positions, *tokens(2))
        assert saved(cache) == before
    monkeypatch.undo()
    cache.append(*tokens(1))
    assert cache.length == 5
