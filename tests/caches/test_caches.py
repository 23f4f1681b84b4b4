"""Caches: cached is full in any split, what fails changes nothing, and nobody sees another's memory."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import definitions
from tinyattn.caches import GrowingCache, StateCache
from tinyattn.engine import Tensor
from tinyattn.ops.files import safetensors

RNG = np.random.default_rng(0)
FULL = {GrowingCache: lambda q, k, v: definitions.attention(q, k, v, causal=True),
        StateCache: lambda q, k, v: definitions.linear_attention_parallel(q, k, v, causal=True)}
KINDS = sorted(FULL, key=lambda kind: kind.__name__)
CLOSE = 200 * np.finfo(np.float64).eps  # tens of terms of size one, summed in another order


def drawn(length, batch=2, heads=4, kv_heads=2, head_dim=3, value_dim=5):
    return (RNG.standard_normal((batch, heads, length, head_dim)), RNG.standard_normal((batch, kv_heads, length, head_dim)),
            RNG.standard_normal((batch, kv_heads, length, value_dim)))


def digest(cache):
    return cache.length, [(name, array.tobytes()) for name, array in cache._arrays().items()]


def filled(kind, length=5):
    cache = kind()
    q, k, v = drawn(length)
    cache.append(k, v)
    return cache, (q, k, v)


@pytest.mark.parametrize("kind", KINDS)
@given(chunks=st.lists(st.sampled_from([0, 1, 1, 2, 3, 7]), min_size=1, max_size=8))
def test_cached_is_full_in_any_split(kind, chunks):
    q, k, v = drawn(sum(chunks))
    cache, outs, at = kind(), [], 0
    for n in chunks:
        outs.append(cache.step(q[..., at : at + n, :], k[..., at : at + n, :], v[..., at : at + n, :]))
        at += n
        assert cache.length == at
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), FULL[kind](q, k, v), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_append_then_attend_is_step(kind):
    cache, (_, k, v) = filled(kind)
    other = cache.fork()
    q, k, v = drawn(1)
    out = cache.step(q, k, v)
    other.append(k, v)
    np.testing.assert_allclose(other.attend(q), out, rtol=0, atol=CLOSE)
    np.testing.assert_array_equal(other.attend(q), other.attend(q))


def test_growing_attends_at_the_last_positions():
    cache, (q, k, v) = filled(GrowingCache)
    np.testing.assert_array_equal(cache.attend(q[..., 2:, :]), definitions.attention(q[..., 2:, :], k, v, causal=True))
    np.testing.assert_array_equal(cache.attend(q, window=(1, 0)), definitions.attention(q, k, v, causal=True, window=(1, 0)))


def test_a_state_answers_the_last_position_alone():
    cache, (q, _, _) = filled(StateCache)
    with pytest.raises(ValueError, match=r"q_len 2.*step"):
        cache.attend(q[..., :2, :])
    size = cache.nbytes
    cache.append(*drawn(100)[1:])
    assert cache.nbytes == size == 2 * 2 * 3 * (5 + 1) * 8


def test_growing_bytes_are_the_formula_and_growth_is_rare():
    cache, buffers = GrowingCache(), 0
    for n in range(2000):
        before = cache.allocated
        cache.append(np.ones((1, 2, 1, 4), np.float32), np.ones((1, 2, 1, 3), np.float32))
        buffers += cache.allocated != before
        assert cache.nbytes == (n + 1) * 2 * (4 + 3) * 4
        assert cache.allocated <= 2 * cache.nbytes
    assert buffers <= 12


BAD = [
    ({"k": (2, 3, 1, 3)}, ValueError, r"v.*\(2, 2, 1, 5\)|k: this cache holds"), ({"k": (1, 2, 1, 3), "v": (1, 2, 1, 5)}, ValueError, "k: this cache"),
    ({"k": (2, 2, 1, 4)}, ValueError, "k: this cache holds.*4"), ({"v": (2, 2, 1, 6)}, ValueError, "v: this cache holds.*6"),
    ({"v": (2, 2, 2, 5)}, ValueError, "v: expected.*got shape"), ({"k": (3,)}, ValueError, r"k: expected.*\(3,\)"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shapes", "error", "words"), BAD)
def test_what_does_not_fit_changes_nothing(kind, shapes, error, words):
    cache, _ = filled(kind)
    before = digest(cache)
    given_shapes = {"k": (2, 2, 1, 3), "v": (2, 2, 1, 5), **shapes}
    k, v = np.ones(given_shapes["k"]), np.ones(given_shapes["v"])
    for act in (lambda: cache.append(k, v), lambda: cache.step(np.ones((2, 4, 1, 3)), k, v)):
        with pytest.raises(error, match=words):
            act()
        assert digest(cache) == before


@pytest.mark.parametrize("kind", KINDS)
def test_other_dtypes_and_tensors_are_refused(kind):
    cache, (q, k, v) = filled(kind)
    before = digest(cache)
    for a, b, words in ((k.astype(np.float32), v.astype(np.float32), "k: this cache holds float64, got float32"),
                        (k, v.astype(np.float32), "v: expected the dtype of k"), (Tensor(k), v, r"k: .*\.value"),
                        (k, [1.0], "v: expected an array, got list")):
        with pytest.raises(TypeError, match=words):
            cache.append(a, b)
    for length, error in ((-1, ValueError), (6, ValueError), (1.0, TypeError)):
        with pytest.raises(error, match="length"):
            cache.truncate(length)
    with pytest.raises(IndexError, match="indices: expected 0 to 1"):
        cache.reorder([0, 2])
    with pytest.raises(TypeError, match="indices"):
        cache.reorder([0.5])
    with pytest.raises(ValueError, match="q: expected at most the 5"):
        cache.attend(np.ones((2, 4, 6, 3)))
    assert digest(cache) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_it_as_it_was(kind, error, monkeypatch):
    cache, _ = filled(kind)
    before = digest(cache)
    q, k, v = drawn(3)
    monkeypatch.setattr(cache, "mechanism", lambda *a, **o: (_ for _ in ()).throw(error))
    with pytest.raises(error):
        cache.step(q, k, v)
    assert digest(cache) == before
    monkeypatch.undo()
    for name in ("empty", "where", "stack", "concatenate", "tril", "zeros"):
        for nth in range(12):
            calls = [0]
            real = getattr(np, name)

            def failing(*args, real=real, calls=calls, nth=nth, **options):
                calls[0] += 1
                if calls[0] == nth:
                    raise error
                return real(*args, **options)

            monkeypatch.setattr(np, name, failing)
            twin = cache.fork()
            try:
                twin.step(q, k, v)
            except error:
                assert digest(twin) == before
            monkeypatch.undo()
    assert digest(cache) == before


@pytest.mark.parametrize("kind", KINDS)
def test_forks_go_their_own_way(kind):
    parent, _ = filled(kind)
    before = digest(parent)
    for child in (parent.fork(), copy.deepcopy(parent)):
        child.append(*drawn(2)[1:])
        assert digest(parent) == before
        after = digest(child)
        parent_two = parent.fork()
        parent_two.append(*drawn(2)[1:])
        assert digest(child) == after


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_reordered_as_indices_compose(kind):
    one, _ = filled(kind)
    two = one.fork()
    a, b = np.array([1, 1, 0]), np.array([2, 0, 1])
    one.reorder(a)
    one.reorder(b)
    two.reorder(a[b])
    assert digest(one) == digest(two)
    q, k, v = drawn(1, batch=3)
    assert one.step(q, k, v).shape == (3, 4, 1, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_the_same(kind, tmp_path):
    cache, _ = filled(kind)
    cache.save(tmp_path / "c")
    back = kind.load(tmp_path / "c")
    assert digest(back) == digest(cache)
    q, k, v = drawn(1)
    np.testing.assert_array_equal(back.step(q, k, v), cache.step(q, k, v))
    safetensors.save(tmp_path / "d", {"x": np.ones(1)})
    with pytest.raises(ValueError, match=f"expected a {kind.__name__}, got no cache"):
        kind.load(tmp_path / "d")


def test_views_outlive_what_comes_after():
    cache, (_, k, v) = filled(GrowingCache)
    keys, values, positions = cache.view()
    with pytest.raises(ValueError, match="read-only"):
        keys[0] = 1.0
    cache.append(*drawn(1)[1:])
    cache.truncate(2)
    cache.append(*drawn(3)[1:])
    np.testing.assert_array_equal(keys, k)
    np.testing.assert_array_equal(values, v)
    np.testing.assert_array_equal(positions, np.arange(5))
    k[:] = np.nan
    np.testing.assert_array_equal(cache.view()[0][..., :2, :], keys[..., :2, :])


def test_unwritten_slots_never_show():
    cache, _ = filled(GrowingCache, 4)
    cache.append(*drawn(1)[1:])
    keys, values = (cache._held.tapes[name].buffer for name in ("keys", "values"))
    assert keys.shape[-2] > 5
    keys[..., 5:, :] = values[..., 5:, :] = np.nan
    assert np.isfinite(cache.attend(np.ones((2, 4, 1, 3)))).all()


def test_truncation():
    cache, (q, k, v) = filled(GrowingCache)
    cache.truncate(3)
    np.testing.assert_array_equal(cache.attend(q[..., :3, :]),
                                  definitions.attention(q[..., :3, :], k[..., :3, :], v[..., :3, :], causal=True))
    cache.truncate(0)
    assert cache.nbytes == 0
    state, _ = filled(StateCache)
    before = digest(state)
    with pytest.raises(ValueError, match="state of 5 tokens.*got 3"):
        state.truncate(3)
    assert digest(state) == before
    state.truncate(5)
    state.truncate(0)
    assert state.length == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_cache_says_so(kind, tmp_path):
    for act in (lambda: kind().reorder([0]), lambda: kind().save(tmp_path / "x"),
                lambda: kind().attend(np.ones((1, 1, 0, 2)))):
        with pytest.raises(ValueError, match="empty"):
            act()
    cache = kind()
    cache.append(np.ones((1, 1, 0, 2)), np.ones((1, 1, 0, 2)))
    assert cache.length == 0


def test_gates_where_there_are_none_are_refused():
    cache, (_, k, v) = filled(StateCache)
    with pytest.raises(ValueError, match="beta: linear_attention_chunked takes no such gate"):
        cache.append(k, v, beta=np.ones((2, 2, 5)))
