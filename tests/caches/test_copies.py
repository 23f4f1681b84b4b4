"""What is copied: inputs always, tokens twice on average at most, a cache by pickle and deepcopy whole."""

import copy
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

from tinyattn.caches import (
    CrossCache,
    FixedCache,
    GrowingCache,
    LatentCache,
    PagePool,
    QuantizedCache,
    RingCache,
    SharedCache,
)

_spec = importlib.util.spec_from_file_location("held", Path(__file__).with_name("held.py"))
held = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(held)
NAMES, WRITERS, arrays, digest, filled, write = held.NAMES, held.WRITERS, held.arrays, held.digest, held.filled, held.write


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
