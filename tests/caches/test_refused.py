"""What a cache cannot do is an error that says what it can, and leaves every byte as it was."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tinyattn import caches
from tinyattn.caches import (
    BatchCache,
    CapacityError,
    CrossCache,
    EvictingCache,
    FixedCache,
    HeavyHitters,
    PagePool,
    QuantizedCache,
    RingCache,
    SharedCache,
    StateCache,
)
from tinyattn.catalog.caches import ROWS

_spec = importlib.util.spec_from_file_location("held", Path(__file__).with_name("held.py"))
held = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(held)
digest, filled = held.digest, held.filled


def test_overflow_changes_nothing_and_nothing_fits_in_what_is_full():
    x = np.ones((1, 2, 1, 3))
    cache = FixedCache(2)
    cache.append(x, x)
    for n in (2, 100):
        before = digest(cache)
        with pytest.raises(CapacityError, match=f"holds 1 of at most 2 tokens, {n} more do not fit"):
            cache.step(np.repeat(x, n, axis=-2), np.repeat(x, n, axis=-2), np.repeat(x, n, axis=-2))
        assert digest(cache) == before
    cache.append(x, x)
    cache.append(x[..., :0, :], x[..., :0, :])
    assert cache.length == cache.capacity == 2
    with pytest.raises(ValueError, match="more do not fit"):
        cache.append(x, x)


def test_a_ring_says_what_it_no_longer_holds():
    row = next(row for row in ROWS if row.name == "RingCache, first kept")
    cache = filled(row, 12)  # 0 and 1, and 7 to 11: a window of 3 and a slack of 2
    before = digest(cache)
    for length in (9, 5, 3):
        with pytest.raises(ValueError, match="length: position .* is seen and no longer held, the oldest that is held is 7"):
            cache.truncate(length)
    with pytest.raises(ValueError, match="q: position 6 is seen and no longer held"):
        cache.attend(np.ones((2, 4, 4, 4)))
    with pytest.raises(ValueError, match="window: this ring's own is 3"):
        cache.attend(np.ones((2, 4, 1, 4)), window=(1, 0))
    assert digest(cache) == before
    assert cache.attend(np.ones((2, 4, 3, 4))).shape == (2, 4, 3, 3)
    cache.truncate(10)
    cache.truncate(2)
    cache.truncate(0)


def test_codes_are_not_cut():
    row = next(row for row in ROWS if row.name == "QuantizedCache")
    cache = filled(row, 13)  # groups of 4, a residual of 3: 8 tokens in codes
    with pytest.raises(ValueError, match="length: 8 tokens are in codes, in groups of 4; expected 8 or more, or a multiple of 4, got 7"):
        cache.truncate(7)
    for length in (10, 8, 4, 0):
        cache.truncate(length)
        assert cache.length == length
    for bad in (np.nan, np.inf):
        x = np.full((2, 2, 1, 4), bad)
        with pytest.raises(ValueError, match="k: expected finite"):
            cache.append(x, x[..., :3])


def test_what_a_cache_cannot_do_is_an_error_that_says_what_can():
    x = np.ones((1, 2, 3, 4))
    evicting = EvictingCache(HeavyHitters(1, 1))
    evicting.step(x, x, x)
    state, memory = StateCache(), CrossCache()
    state.append(x, x)
    memory.append(x, x)
    reader = SharedCache(state)
    for act, words in ((lambda: evicting.append(x, x), "step takes both"), (lambda: evicting.attend(x[..., :1, :]), "were evicted"),
                       (lambda: evicting.truncate(2), "fork before"), (lambda: evicting.step(x, x, x, mask=None), "mask: an evicting cache"),
                       (lambda: evicting.step(x[..., :1, :], x, x), "expected a query for each"),
                       (lambda: state.truncate(2), "0 or 3"), (lambda: state.attend(x), "step answers a whole chunk"),
                       (lambda: memory.append(x, x), "nothing is added to it"), (lambda: memory.truncate(1), "whole or removed"),
                       (lambda: memory.step(x, x), "both or neither"), (lambda: CrossCache().step(x), "is empty"),
                       (lambda: reader.append(x, x), "to its source"), (lambda: reader.step(x, x, x), "its source"),
                       (lambda: reader.reorder([0]), "the source"), (lambda: reader.truncate(1), "truncate the source"),
                       (lambda: reader.save("x"), "its source")):
        with pytest.raises(ValueError, match=words):
            act()
    reader.truncate(3)
    assert reader.capacity is None
    assert reader.exact


def test_settings_are_checked():
    for make in (lambda: FixedCache(0), lambda: RingCache(0), lambda: RingCache(1, keep_first=-1), lambda: RingCache(1, slack=-1),
                 lambda: QuantizedCache(bits=3), lambda: QuantizedCache(group=0), lambda: QuantizedCache(residual=-1), lambda: PagePool(0, 1),
                 lambda: PagePool(1, 0), lambda: StateCache(slack=-1), lambda: HeavyHitters(0, 0), lambda: HeavyHitters(-1, 2),
                 lambda: caches.SnapKV(2, 2), lambda: caches.SnapKV(4, 2, kernel=2), lambda: BatchCache(padding="both")):
        with pytest.raises(ValueError, match="expected"):
            make()
    with pytest.raises(TypeError, match="capacity: expected an int"):
        FixedCache(2.0)


def test_a_batch_names_what_is_wrong_with_its_rows():
    x = np.ones((2, 1, 3, 4))
    cache = BatchCache([3, 1])
    np.testing.assert_array_equal(BatchCache(np.array([3, 1]), padding="left").positions(3), [[0, 1, 2], [0, 0, 0]])
    cache.append(x, x)
    np.testing.assert_array_equal(cache.positions(2), [[3, 4], [1, 2]])
    before = digest(cache)
    for act, words in ((lambda: cache.append(x, x, lengths=[1]), "lengths: expected 2 ints"), (lambda: cache.append(x, x, lengths=[4, 0]), "0 to the chunk's 3"),
                       (lambda: cache.append(x, x, lengths=[-1, 0]), "got -1"), (lambda: cache.append(x[:1], x[:1]), "holds 2 rows, got 1"),
                       (lambda: cache.step(x[:1], x, x), "q: expected 2 rows"), (lambda: cache.attend(x[:1]), "q: expected 2 rows"),
                       (lambda: cache.attend(np.ones((2, 1, 2, 4))), "at most the 1 stored"), (lambda: cache.truncate([1]), "an int or 2"),
                       (lambda: cache.truncate([3, 2]), "0 to the 1 tokens"), (lambda: cache.step(x, x, x, mask=np.ones((3, 4), bool)), "share no array")):
        with pytest.raises(ValueError, match=words):
            act()
        assert digest(cache) == before
    cache.truncate([2, 1])
    assert cache.lengths.tolist() == [2, 1]
    cache.truncate(1)
    assert cache.lengths.tolist() == [1, 1]
    cache.step(x, x, x, lengths=[0, 2])
    assert cache.lengths.tolist() == [1, 3]
    assert cache.length == 3
