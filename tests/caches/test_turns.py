"""Two threads in one cache are an error that says so."""

import copy
import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import GrowingCache, PagePool

_spec = importlib.util.spec_from_file_location("held", Path(__file__).with_name("held.py"))
held = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(held)
NAMES, WRITERS, arrays, filled, write = held.NAMES, held.WRITERS, held.arrays, held.filled, held.write


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
    acts = [lambda: cache.append(k, v), lambda: cache.step(q, k, v, **options), lambda: cache.attend(q, **held.asked(options)), cache.fork,
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
