"""What fails, is stopped or is asked of the wrong cache leaves every byte as it was."""

import copy
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tinyattn import caches, definitions
from tinyattn.caches import (
    BatchCache,
    CapacityError,
    CrossCache,
    EvictingCache,
    FixedCache,
    GrowingCache,
    HeavyHitters,
    LatentCache,
    PagePool,
    QuantizedCache,
    RingCache,
    SharedCache,
    StateCache,
)
from tinyattn.caches.paged import PagedCache
from tinyattn.catalog.caches import ROWS
from tinyattn.ops.files import safetensors

HOME = str(Path(caches.__file__).parent)
WRITERS = [row for row in ROWS if row.name != "SharedCache"]
NAMES = [row.name for row in WRITERS]


def arrays(row, n, seed=0, dtype=np.float64):
    """Returns q, k, v of two rows and n tokens as a row's cache takes them, and its options."""
    rng = np.random.default_rng(seed)
    if row.name == "LatentCache":
        weights = {"w_uk": rng.standard_normal((4, 6, 2)), "w_uv": rng.standard_normal((4, 6, 5))}
        return [rng.standard_normal(shape).astype(dtype) for shape in ((2, 4, n, 4), (2, n, 6), (2, n, 2))], weights
    return [rng.standard_normal(shape).astype(dtype) for shape in ((2, 4, n, 4), (2, 2, n, 4), (2, 2, n, 3))], {}


def filled(row, n=7):
    (q, k, v), options = arrays(row, n)
    cache = row.made()
    if row.name != "CrossCache":
        cache.step(q, k, v, **options)
    return cache


def digest(cache):
    """Returns every byte that a cache holds, and for one of a pool the books of the pool."""
    held = [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in cache._arrays().items()]
    if isinstance(cache, PagedCache):
        book = cache.pool._book
        assert sorted(book.free) == np.flatnonzero(book.references == 0).tolist()
        held.append((book.references.tobytes(), book.free.tobytes()))
    return cache.length, held


def write(row, cache, n=3, seed=1):
    """Adds n tokens by the act that a cache has for it."""
    (q, k, v), options = arrays(row, n, seed)
    if row.name.startswith("EvictingCache"):
        cache.step(q, k, v, **options)
    else:
        cache.append(k, v)


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
@pytest.mark.parametrize("name", ["empty", "zeros", "concatenate", "stack", "where", "arange", "array", "pad"])
def test_an_allocation_that_fails_changes_nothing(row, name, monkeypatch):
    cache, real, calls = filled(row), getattr(np, name), 0
    wanted = filled(row)
    write(row, wanted)
    before, nth = digest(cache), 0

    def failing(*args, **options):
        nonlocal calls
        calls += 1
        if calls == nth:
            raise MemoryError
        return real(*args, **options)

    done = False
    while not done:  # until the act has no nth allocation
        nth, calls = nth + 1, 0
        with monkeypatch.context() as patched:
            patched.setattr(np, name, failing)
            try:
                write(row, cache)
                done = True
            except MemoryError:
                assert digest(cache) == before
    assert digest(cache)[1][: len(cache._arrays())] == digest(wanted)[1][: len(cache._arrays())]


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_an_act_that_is_stopped_anywhere_has_happened_or_not(row):
    """KeyboardInterrupt at every line of every file of the caches that an append runs through."""
    after = filled(row)
    write(row, after)
    before, after = digest(filled(row)), digest(after)
    cache, stopped, nth = filled(row), 0, 0

    def trace(frame, event, _):
        nonlocal stopped
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        if event == "line":
            stopped += 1
            if stopped == nth:
                raise KeyboardInterrupt
        return trace

    old = sys.gettrace()
    done = False
    while not done:
        nth, stopped = nth + 1, 0
        sys.settrace(trace)
        try:
            write(row, cache)
            done = True
        except KeyboardInterrupt:
            sys.settrace(old)
            now = digest(cache)
            assert now in (before, after)
            cache = filled(row) if now == after else cache
        finally:
            sys.settrace(old)
    assert digest(cache) == after
    assert nth > 15


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_what_does_not_fit_is_refused_by_name(row):
    cache = filled(row)
    if row.name == "CrossCache":
        write(row, cache)
    before = digest(cache)
    (q, k, v), options = arrays(row, 2)
    narrow, single = (k[..., 1:], v), (k.astype(np.float32), v.astype(np.float32))
    fewer, three = (k[:1], v[:1]), (np.repeat(k, 2, axis=0)[:3], np.repeat(v, 2, axis=0)[:3])
    cases = [(narrow, ValueError), (single, TypeError), (fewer, ValueError), (three, ValueError), ((k, v[..., 1:, :]), ValueError),
             ((k[..., :0, :], v), ValueError), ((k.astype(int), v), TypeError), ((list(k), v), TypeError)]
    for pair, error in cases:
        for act in (lambda pair=pair: cache.step(q, *pair, **options), lambda pair=pair: cache.append(*pair)):
            with pytest.raises((error, ValueError), match=r"^(k|v|append): "):
                act()
            assert digest(cache) == before
    with pytest.raises((ValueError, TypeError), match="^(q|k): "):
        cache.step(np.concatenate((q, q), axis=-2), k, v, **options)  # its first queries would stand before the chunk
    with pytest.raises(ValueError, match="q|^k: a memory"):  # found only where the queries are read, after the keys were taken in
        cache.step(q[..., 2:], k, v, **options)
    assert digest(cache) == before
    for length, error in ((-1, ValueError), (cache.length + 1, ValueError), (1.5, (TypeError, ValueError)), (True, TypeError)):
        with pytest.raises(error):
            cache.truncate(length)
    with pytest.raises(IndexError, match="indices: expected 0 to 1, got 0 to 2"):
        cache.reorder([0, 2])
    with pytest.raises(IndexError, match="indices"):
        cache.reorder([-1])
    with pytest.raises(TypeError, match="indices"):
        cache.reorder([0.5])
    assert digest(cache) == before


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_an_empty_cache_says_so(row, tmp_path):
    cache = row.made()
    (q, _, _), options = arrays(row, 0)
    for act in (lambda: cache.reorder([0]), lambda: cache.save(tmp_path / "x"), lambda: cache.attend(q, **options)):
        with pytest.raises(ValueError, match="empty"):
            act()
    assert (cache.length, cache.nbytes, cache.allocated) == (0, 0, 0)
    cache.truncate(0)


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_a_file_that_does_not_fit_is_refused(row, tmp_path):
    cache = filled(row)
    if row.name == "CrossCache":
        write(row, cache)
    given = {name: x for name, x in row.settings.items() if callable(x) or name == "policy"}
    given |= {"pool": PagePool(64, 3)} if row.name == "PagedCache" else {}
    kind = type(cache)
    cache.save(tmp_path / "right")
    held, metadata = safetensors.load_with_metadata(tmp_path / "right")
    assert metadata["cache"] == kind.__name__
    safetensors.save(tmp_path / "other", held, metadata={**metadata, "cache": "Nobody"})
    with pytest.raises(ValueError, match=f"expected a {kind.__name__}, got Nobody"):
        kind.load(tmp_path / "other", **given)
    safetensors.save(tmp_path / "other", held, metadata={**metadata, "window": "wide"})
    with pytest.raises(ValueError, match="other: window: expected a whole number, got 'wide'"):
        kind.load(tmp_path / "other", **given)
    for name in held:
        if name.count(".") < 2:  # gates and check-points are there or not
            safetensors.save(tmp_path / "less", {n: array for n, array in held.items() if n != name}, metadata=metadata)
            with pytest.raises(ValueError, match=r"less: expected a .*, found no|do not fit"):
                kind.load(tmp_path / "less", **given)


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
    for act, words in ((lambda: evicting.append(x, x), "step brings both"), (lambda: evicting.attend(x[..., :1, :]), "were forgotten"),
                       (lambda: evicting.truncate(2), "fork before"), (lambda: evicting.step(x, x, x, mask=None), "mask: an evicting cache"),
                       (lambda: evicting.step(x[..., :1, :], x, x), "expected a query for each"),
                       (lambda: state.truncate(2), "0 or 3"), (lambda: state.attend(x), "step answers a whole chunk"),
                       (lambda: memory.append(x, x), "not added to"), (lambda: memory.truncate(1), "whole or forgotten"),
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


def test_two_threads_in_one_cache_are_told():
    inside, leave, outs = threading.Event(), threading.Event(), []

    def slow(q, k, v, **options):
        inside.set()
        leave.wait(10)
        return definitions.attention(q, k, v, **options)

    cache, x = GrowingCache(slow), np.ones((1, 2, 3, 4))
    other = threading.Thread(target=lambda: outs.append(cache.step(x, x, x)))
    other.start()
    inside.wait(10)
    for act in (lambda: cache.append(x, x), lambda: cache.fork(), lambda: cache.truncate(0), lambda: cache.reorder([0])):
        with pytest.raises(RuntimeError, match="another thread is using this GrowingCache"):
            act()
    leave.set()
    other.join()
    assert cache.length == 3
    assert outs[0].shape == (1, 2, 3, 4)
    cache.append(x, x)


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_every_act_asks_whose_turn_it_is(row):
    cache = filled(row)
    if row.name == "CrossCache":
        write(row, cache)
    (q, k, v), options = arrays(row, 1)
    cache._turn["thread"] = -1
    acts = [lambda: cache.append(k, v), lambda: cache.step(q, k, v, **options), lambda: cache.attend(q, **options), cache.fork,
            getattr(cache, "view", cache.fork), lambda: cache.truncate(0), lambda: cache.reorder([0]), lambda: cache.save("x"), lambda: copy.deepcopy(cache)]
    for act in acts:
        with pytest.raises(RuntimeError, match="another thread"):
            act()


def test_sequences_of_a_pool_take_turns_together():
    pool = PagePool(4, 2)
    one, two = pool.sequence(), pool.sequence()
    one._turn["thread"] = -1
    x = np.ones((1, 1, 1))
    with pytest.raises(RuntimeError, match="another thread is using this PagedCache"):
        two.append(x, x)
    with pytest.raises(RuntimeError, match="another thread is using this PagePool"):
        pool.sequence()


class Counting(np.ndarray):
    """An array that counts the bytes written into it."""

    written = 0

    def __setitem__(self, key, rows):
        Counting.written += np.ndarray.__getitem__(self.view(np.ndarray), key).nbytes
        super().__setitem__(key, rows)


@pytest.mark.parametrize(("make", "count"), [
    (GrowingCache, 100_000), (lambda: FixedCache(100_000), 5_000), (lambda: RingCache(64, keep_first=4, slack=8), 20_000),
    (lambda: PagePool(7_000, 16).sequence(), 10_000), (lambda: QuantizedCache(group=8, residual=8), 5_000), (LatentCache, 5_000)])
def test_a_token_is_copied_twice_on_average_at_most(make, count, monkeypatch):
    real = np.empty
    monkeypatch.setattr(np, "empty", lambda *a, **o: real(*a, **o).view(Counting))
    monkeypatch.setattr(Counting, "written", 0)
    cache, x, steps = make(), np.ones((1, 1, 64), np.float32), 0
    x = x[0] if isinstance(cache, LatentCache) else x
    for _ in range(count):
        cache.append(x, x)
        steps += 1
    assert cache.length == steps == count
    stored = 2 * x.nbytes * count
    assert stored / 2 < Counting.written <= 3 * stored


def test_outputs_are_not_views_and_inputs_are_copied():
    cache = GrowingCache(lambda q, k, v, causal: v)
    x = np.ones((1, 2, 3, 4))
    out = cache.step(x, x, x)
    cache.truncate(0)
    cache.append(x * 2, x * 2)
    assert (out == 1).all()
    for row in WRITERS:
        made, (q, k, v), options = row.made(), *arrays(row, 5)
        made.step(q, k, v, **options)
        before = digest(made)
        for array in (q, k, v):
            array[...] = 7.0
        assert digest(made) == before


@pytest.mark.parametrize("row", [row for row in WRITERS if row.name != "PagedCache"], ids=[n for n in NAMES if n != "PagedCache"])
def test_pickled_and_copied_caches_are_others(row):
    cache = filled(row)
    if row.name == "CrossCache":
        write(row, cache)
    before = digest(cache)
    for twin in (pickle.loads(pickle.dumps(cache)), copy.deepcopy(cache), copy.deepcopy([cache])[0]):
        assert digest(twin) == before
        if row.name != "CrossCache":
            write(row, twin)
            assert digest(twin) != before
        assert digest(cache) == before


def test_copies_of_a_model_keep_who_reads_whom():
    x = np.ones((1, 2, 3, 4))
    source = GrowingCache()
    layers = [source, SharedCache(source), SharedCache(source)]
    source.append(x, x)
    assert np.shares_memory(layers[1].view()[0], source.view()[0])
    others = copy.deepcopy(layers)
    assert others[1].source is others[2].source is others[0]
    others[0].append(x, x)
    assert [layer.length for layer in layers] == [3, 3, 3]
    assert [layer.length for layer in others] == [6, 6, 6]
    assert layers[1].fork().source is not source
    assert sum(layer.nbytes for layer in layers) == source.nbytes
    np.testing.assert_array_equal(layers[1].positions(2), [1, 2])


def test_a_memory_is_stored_once():
    x = np.ones((1, 2, 3, 4))
    cache = CrossCache()
    cache.step(x, x, x)
    keys = cache.view()[0]
    for _ in range(3):
        cache.step(x[..., :1, :])
        assert np.shares_memory(cache.view()[0], keys)
    assert cache.length == 3


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
