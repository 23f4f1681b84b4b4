"""Pages of sequences that nobody holds any more are free, at once and once only."""

import copy
import gc
import pickle

import numpy as np
import pytest

from tinyattn.caches import BatchCache, PagePool, SharedCache
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.prefix import Prefix

X = np.ones((1, 1, 4, 1))


def held(pool, tokens=4):
    cache = pool.sequence()
    cache.append(X[..., :tokens, :], X[..., :tokens, :])
    return cache


def consistent(pool):
    """The free pages of a pool whose book agrees with itself: a page is free or stands in a table, and is free once."""
    book = pool._book
    assert sorted(book.free.tolist()) == np.flatnonzero(book.references == 0).tolist()
    pages = [table.pages.reshape(-1) for table in book.tables.values() if table is not None]
    counted = np.bincount(np.concatenate([np.zeros(0, np.int64), *pages]), minlength=pool.pages)
    np.testing.assert_array_equal(book.references, counted)
    return pool.free_pages


def test_a_deleted_sequence_frees_its_pages():
    pool = PagePool(4, 2)
    first, second = held(pool), held(pool, 2)
    assert consistent(pool) == 1
    del first
    assert consistent(pool) == 3
    del second
    assert consistent(pool) == 4
    assert pool._book.tables == {}


@pytest.mark.parametrize("order", ["parent first", "child first"])
def test_a_page_that_parent_and_child_share_is_free_when_both_are_gone(order):
    pool = PagePool(4, 2)
    parent = held(pool, 3)
    child = parent.fork()
    child.append(X[..., :1, :], X[..., :1, :])
    assert consistent(pool) == 1
    if order == "parent first":
        del parent
        assert consistent(pool) == 2
        np.testing.assert_array_equal(child.view()[0], X)
        del child
    else:
        del child
        assert consistent(pool) == 2
        np.testing.assert_array_equal(parent.view()[0], X[..., :3, :])
        del parent
    assert consistent(pool) == 4


def test_a_sequence_that_was_freed_and_then_deleted_frees_once():
    pool = PagePool(2, 2)
    cache = held(pool)
    cache.free()
    other = held(pool)
    del cache
    assert consistent(pool) == 0
    np.testing.assert_array_equal(other.view()[0], X)
    del other
    assert consistent(pool) == 2


def test_a_sequence_in_a_cycle_is_freed_when_the_cycle_is_collected():
    pool, node = PagePool(2, 2), {}
    node["cache"], node["self"] = held(pool), node
    del node
    gc.collect()
    assert consistent(pool) == 2


def test_a_sequence_that_is_collected_in_the_middle_of_an_act_does_not_come_back(monkeypatch):
    pool = PagePool(4, 2)
    doomed, kept = [held(pool)], held(pool, 2)
    real = type(pool._book).taking

    def taking(book, count):
        doomed.clear()  # the garbage collector may run at any allocation
        return real(book, count)

    monkeypatch.setattr(type(pool._book), "taking", taking)
    kept.step(*[X[..., :2, :]] * 3)  # which asks for the length between taking pages and holding them
    assert consistent(pool) == 2
    assert list(pool._book.tables) == [kept._number]


def test_published_pages_outlive_a_deleted_sequence_until_they_are_given_out():
    pool = PagePool(3, 2)
    cache = held(pool)
    cache.publish([5, 6, 7, 8])
    del cache
    assert consistent(pool) == 3
    again = pool.sequence([5, 6, 7, 8])
    assert again.length == 4
    np.testing.assert_array_equal(again.view()[0], X)
    del again
    longer = pool.sequence()
    longer.append(*[np.ones((1, 1, 6, 1))] * 2)
    assert pool.sequence([5, 6, 7, 8]).length == 0


def test_copies_are_forks_and_pools_are_not_copied():
    pool = PagePool(4, 2)
    cache = held(pool, 3)
    twins = [copy.copy(cache), copy.deepcopy(cache), copy.deepcopy([SharedCache(cache)])[0].source]
    assert consistent(pool) == 2
    twins[0].append(X[..., :1, :], X[..., :1, :])
    assert [twin.length for twin in (cache, *twins)] == [3, 4, 3, 3]
    del twins
    assert consistent(pool) == 2
    for copied in (lambda: copy.copy(pool), lambda: copy.deepcopy(pool), lambda: pickle.dumps(pool), lambda: pickle.dumps(cache)):
        with pytest.raises(TypeError, match="a pool cannot be pickled or copied"):
            copied()


def model():
    return Decoder.create(DecoderConfig(width=8, layers=2, heads=2, kv_heads=1, hidden=8), np.random.default_rng(0))


def test_a_text_that_nobody_reads_on_gives_its_pages_back():
    decoder, pool = model(), PagePool(32, 2)
    stopped = generate(decoder, b"abc", 9, cache=pool.sequence)
    next(stopped)
    assert consistent(pool) < 32
    del stopped
    assert consistent(pool) == 32
    never = generate(decoder, b"abc", 9, cache=pool.sequence)
    del never
    assert consistent(pool) == 32
    assert pool._book.tables == {}


def test_a_prefix_and_a_batch_that_nobody_holds_give_their_pages_back():
    decoder, pool = model(), PagePool(32, 2)
    prefix = Prefix.read(decoder, b"abcde", pool.sequence)
    turn = prefix.extended(b"f")
    assert consistent(pool) == 24  # three pages in each layer, and a copy of the last one
    del prefix
    assert len([*turn.generate(b"g", 3)]) == 3
    del turn
    assert consistent(pool) == 32
    batch, rows = BatchCache(make=pool.sequence), np.ones((3, 1, 4, 4), np.float32)
    batch.append(rows, rows)
    assert consistent(pool) == 26
    batch.free()
    assert consistent(pool) == 32
    with pytest.raises(ValueError, match="it was freed"):
        batch.append(rows, rows)
