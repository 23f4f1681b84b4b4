"""Pools of pages: who shares what, what is copied, what is found again, and that nothing leaks."""

import hashlib

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.caches import CapacityError, PagedCache, PagePool, paged
from tinyattn.caches.pages import chain

RNG = np.random.default_rng(0)


def keys_of(ids):
    """Returns keys and values (1, 2, n, 3) that depend on each token and all before it, as a model's do."""
    rows = [np.random.default_rng([1, *ids[: n + 1]]).standard_normal((2, 1, 2, 1, 3)) for n in range(len(ids))]
    return tuple(np.concatenate([row[i] for row in rows], axis=-2) for i in range(2))


def held(pool, ids, **scope):
    """Returns a sequence that holds some tokens, begun from what the pool knows of them, and how much that was."""
    cache = pool.sequence(ids, **scope)
    found = cache.length
    k, v = keys_of(ids)
    cache.append(k[..., found:, :], v[..., found:, :])
    return cache, found


def assert_holds(cache, ids):
    for got, want in zip(cache.view()[:2], keys_of(ids), strict=True):
        np.testing.assert_array_equal(got, want)


def test_equal_beginnings_are_stored_once():
    pool, text = PagePool(20, 4), list(range(100, 111))
    first, found = held(pool, text)
    assert found == 0
    first.publish(text)
    second, found = held(pool, [*text[:9], 7, 8])
    assert found == 8  # two whole pages of four
    assert pool.used_pages == 3 + 1
    assert_holds(first, text)
    assert_holds(second, [*text[:9], 7, 8])
    assert first.allocated == second.allocated == 3 * 4 * 2 * 6 * 8


def other_beginnings(pool):
    """Raises AssertionError if a sequence is given pages of tokens that stood elsewhere, or after others, or in another scope."""
    text = [1, 2, 3, 4, 5, 6, 7, 8]
    held(pool, text)[0].publish(text)
    for ids, scope in ((text[4:], ""), ([9, *text[1:]], ""), ([0, *text], ""), (text, "adapter")):
        cache, _ = held(pool, ids, scope=scope)
        assert_holds(cache, ids)
        assert scope == "" or pool.sequence(ids, scope=scope).length == 0
    assert pool.sequence(text).length == 8


def test_tokens_elsewhere_or_after_others_are_not_the_same():
    other_beginnings(PagePool(40, 4))


def test_a_digest_of_a_page_alone_is_found_out(monkeypatch):
    def alone(tokens, page_size, scope):
        for start in range(0, len(tokens) - page_size + 1, page_size):
            yield hashlib.sha256(scope.encode() + tokens[start : start + page_size].tobytes()).digest()

    monkeypatch.setattr(paged, "chain", alone)
    with pytest.raises(AssertionError, match="not equal"):
        other_beginnings(PagePool(40, 4))


def test_a_prefix_outlives_its_sequence_until_its_pages_are_given_out():
    pool, text = PagePool(4, 2), [1, 2, 3, 4]
    first, _ = held(pool, text)
    first.publish(text)
    first.free()
    assert pool.free_pages == 4
    again, found = held(pool, text)
    assert found == 4
    assert pool.used_pages == 2
    again.free()
    other, _ = held(pool, [9, 9, 9, 9, 9, 9, 9, 9])  # takes all four
    other.free()
    assert pool.sequence(text).length == 0


def test_a_named_page_is_never_written():
    pool, text = PagePool(8, 4), [1, 2, 3, 4]
    cache, _ = held(pool, text)
    cache.publish(text)
    cache.truncate(2)
    k, v = keys_of([7, 7, 7])
    cache.append(k[..., 2:, :], v[..., 2:, :])
    assert_holds(pool.sequence(text), text)
    cache.free()
    assert_holds(pool.sequence(text), text)


def test_publishing_is_for_one_row_and_stored_tokens():
    pool = PagePool(8, 2)
    cache, x = pool.sequence(), np.ones((2, 1, 3, 2))
    for act in (lambda: cache.publish([1]), lambda: (cache.append(x, x), cache.publish([1, 2]))):
        with pytest.raises(ValueError, match="tokens: expected at most the"):
            act()
    with pytest.raises(TypeError, match="tokens: expected ints along one axis"):
        pool.sequence([1.5])
    with pytest.raises(ValueError, match="at most the 1 stored"):
        one = pool.sequence()
        one.append(x[:1, :, :1], x[:1, :, :1])
        one.publish([1, 2])
    assert len(list(chain(np.arange(7), 3, ""))) == 2


def test_a_fork_takes_no_page_and_its_first_word_one():
    pool, x = PagePool(20, 4), np.ones((3, 2, 6, 2))
    parent = pool.sequence()
    parent.append(x, x)
    assert pool.used_pages == 6
    children = [parent.fork() for _ in range(3)]
    assert pool.used_pages == 6
    assert pool.references.max() == 4
    children[0].append(x[..., :1, :] * 2, x[..., :1, :])
    assert pool.used_pages == 9
    parent.append(x[..., :1, :] * 3, x[..., :1, :])
    parent.free()
    assert [child.length for child in children] == [7, 6, 6]
    assert (children[0].view()[0][..., -1, :] == 2).all()
    for child in children:
        child.free()
    assert pool.free_pages == 20
    assert not pool.references.any()


def test_rows_that_were_copied_share_until_they_write_and_the_last_one_writes_in_place():
    pool, x = PagePool(4, 4), np.ones((1, 1, 2, 1))
    cache = pool.sequence()
    cache.append(x, x)
    cache.reorder([0, 0, 0, 0])
    assert pool.used_pages == 1
    rows = np.arange(4.0).reshape(4, 1, 1, 1)
    cache.append(rows, rows)  # three copies are enough for four rows
    assert pool.used_pages == 4
    np.testing.assert_array_equal(cache.view()[0][:, 0, -1, 0], np.arange(4))


def test_a_pool_that_is_exhausted_says_so_and_nothing_has_changed():
    pool, x = PagePool(3, 2), np.ones((1, 1, 5, 1))
    one, two = pool.sequence(), pool.sequence()
    one.append(x, x)
    before = (one.view()[0].tobytes(), pool.references.tobytes(), pool._book.free.tobytes())
    for act in (lambda: two.append(x[..., :1, :], x[..., :1, :]), lambda: one.append(x[..., :2, :], x[..., :2, :]),
                lambda: one.fork().append(x[..., :1, :], x[..., :1, :])):
        with pytest.raises(CapacityError, match="1 pages are needed, 0 of 3 are free"):
            act()
        assert (one.view()[0].tobytes(), pool.references.tobytes(), pool._book.free.tobytes()) == before
    one.append(x[..., :1, :], x[..., :1, :])  # the last page has room for one
    assert one.capacity == 6
    one.free()
    two.append(x, x)


def test_a_freed_or_unknown_sequence_is_refused():
    pool, x = PagePool(2, 2), np.ones((1, 1, 1, 1))
    cache = pool.sequence()
    cache.append(x, x)
    cache.free()
    stranger = PagePool(2, 2).sequence()
    stranger._number = 99
    for act in (cache.free, cache.view, cache.fork, lambda: cache.length, lambda: cache.append(x, x), lambda: cache.step(x, x, x),
                lambda: cache.truncate(0), lambda: cache.nbytes, stranger.view):
        with pytest.raises(ValueError, match=r"sequence \d+ is not in this pool: it was freed, or belongs to another"):
            act()
    assert pool.free_pages == 2


def test_a_pool_holds_one_kind_of_keys():
    pool, x = PagePool(4, 2), np.ones((1, 2, 1, 3))
    pool.sequence().append(x, x)
    assert pool.allocated == 4 * 2 * 2 * 6 * 8
    for k, error, words in ((x[:, :1], ValueError, "holds 2 heads of 3 channels"), (x[..., :2], ValueError, "holds 2 heads"),
                            (x.astype(np.float32), TypeError, "this pool holds float64, got float32")):
        with pytest.raises(error, match=words):
            pool.sequence().append(k, k)
    with pytest.raises(ValueError, match="q: expected shape"):
        pool.sequence().step(np.ones((2, 2, 1, 3)), x, x)


def test_where_the_pages_lie_does_not_show():
    q, k, v = (RNG.standard_normal((2, h, 11, d)) for h, d in ((4, 3), (2, 3), (2, 5)))
    for seed in range(3):
        pool = PagePool(16, 3)
        pool._book = pool._book._replace(free=np.random.default_rng(seed).permutation(16))
        cache = pool.sequence()
        outs = [cache.step(*(x[..., s, :] for x in (q, k, v))) for s in (slice(0, 5), slice(5, 6), slice(6, 11))]
        np.testing.assert_allclose(np.concatenate(outs, axis=-2), definitions.attention(q, k, v, causal=True), rtol=1e-13, atol=1e-14)


def test_a_mask_for_rows_of_several_axes():
    q, k, v = (RNG.standard_normal((2, 3, h, 4, d)) for h, d in ((4, 3), (2, 3), (2, 5)))
    mask, bias = RNG.random((3, 1, 4, 4)) < 0.8, RNG.standard_normal((2, 1, 4, 4, 4))
    cache = PagePool(16, 3).sequence()
    out = cache.step(q, k, v, mask=mask, bias=bias)
    np.testing.assert_allclose(out, definitions.attention(q, k, v, causal=True, mask=mask, bias=bias), rtol=1e-13, atol=1e-14)
    cache.reorder([1, 1, 0])
    np.testing.assert_array_equal(cache.view()[0], k[[1, 1, 0]])
    assert isinstance(cache, PagedCache)
