"""What each cache does besides what every cache does: the laws, the machine and the faults have files of their own."""

import importlib.util
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import caches, definitions
from tinyattn.caches import (
    EvictingCache,
    FixedCache,
    GrowingCache,
    HeavyHitters,
    PagePool,
    QuantizedCache,
    RingCache,
    SnapKV,
    StateCache,
    quantized,
)
from tinyattn.ops.bias import alibi
from tinyattn.ops.masks import padding
from tinyattn.ops.positions.rotary import rotary

_spec = importlib.util.spec_from_file_location("tokens", Path(__file__).with_name("tokens.py"))
tokens = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tokens)
RNG, drawn, filled = tokens.RNG, tokens.drawn, tokens.filled
CLOSE = dict(rtol=1e-13, atol=1e-14)


def linear(q, k, v):
    return definitions.linear_attention_parallel(q, k, v, causal=True)


def windowed(q, k, v):
    return definitions.attention(q, k, v, causal=True, window=(3, 0))


def whole(q, k, v):
    return definitions.attention(q, k, v, causal=True)


SPLITS = [(GrowingCache, whole), (lambda: FixedCache(64), whole), (lambda: PagePool(64, 3).sequence(), whole), (lambda: RingCache(4), windowed),
          (StateCache, linear), (lambda: StateCache(slack=3), linear)]


@pytest.mark.parametrize(("make", "full"), SPLITS)
@given(chunks=st.lists(st.sampled_from([0, 1, 1, 2, 3, 7]), min_size=1, max_size=8))
def test_cached_is_full_in_any_split(make, full, chunks):
    q, k, v = drawn(sum(chunks))
    cache, outs, at = make(), [], 0
    for n in chunks:
        outs.append(cache.step(q[..., at : at + n, :], k[..., at : at + n, :], v[..., at : at + n, :]))
        at += n
        assert cache.length == at
        np.testing.assert_array_equal(cache.positions(2), [at, at + 1])
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), full(q, k, v), **CLOSE)


@pytest.mark.parametrize(("make", "full"), [*SPLITS, (lambda: QuantizedCache(group=2, residual=99), whole)])
def test_a_prompt_may_ask_for_its_last_tokens_alone(make, full):
    q, k, v = drawn(9)
    np.testing.assert_allclose(make().step(q[..., -2:, :], k, v), full(q, k, v)[..., -2:, :], **CLOSE)
    assert make().step(q[..., :0, :], k, v).shape == (2, 4, 0, 5)


@pytest.mark.parametrize("make", [make for make, _ in SPLITS])
def test_append_then_attend_is_step(make):
    cache, _ = filled(make())
    other = cache.fork()
    q, k, v = drawn(1)
    out = cache.step(q, k, v)
    other.append(k, v)
    read = other.attend(q)
    np.testing.assert_allclose(read, out, **CLOSE)
    np.testing.assert_array_equal(other.attend(q), read)  # reading changes nothing


@pytest.mark.parametrize("make", [GrowingCache, lambda: FixedCache(9), lambda: PagePool(9, 3).sequence(), lambda: RingCache(9),
                                  lambda: RingCache(9, keep_first=2), lambda: QuantizedCache(group=2, residual=9)])
def test_options_are_those_of_attention_on_positions(make):
    q, k, v = drawn(7)
    mask, bias = RNG.random((2, 1, 7, 7)) < 0.7, RNG.standard_normal((4, 7, 7))
    for options in ({"mask": mask}, {"bias": bias, "softcap": 2.0}, {"mask": padding(np.array([7, 3])), "sinks": np.ones(4)}, {"scale": 0.3}):
        cache = make()
        outs = []
        for start, stop in ((0, 3), (3, 4), (4, 7)):
            given = {name: option[..., start:stop, : stop] if isinstance(option, np.ndarray) and option.ndim > 1 else option
                     for name, option in options.items()}
            outs.append(cache.step(*(x[..., start:stop, :] for x in (q, k, v)), **given))
        want = definitions.attention(q, k, v, causal=True, **options)
        np.testing.assert_allclose(np.concatenate(outs, axis=-2), want, **CLOSE)
        with pytest.raises(ValueError, match="mask"):
            cache.attend(q[..., -1:, :], mask=np.ones((1, 3), bool))


def test_growing_attends_at_the_last_positions():
    cache, (q, k, v) = filled(GrowingCache())
    np.testing.assert_array_equal(cache.attend(q[..., 2:, :]), definitions.attention(q[..., 2:, :], k, v, causal=True))
    np.testing.assert_array_equal(cache.attend(q, window=(1, 0)), definitions.attention(q, k, v, causal=True, window=(1, 0)))


def test_a_ring_turns_far_queries_to_their_place_in_the_cache():
    q, k, v = drawn(30)
    cache = RingCache(5, keep_first=3, rotate=rotary)
    outs = [cache.step(*(x[..., t : t + 1, :] for x in (q, k, v))) for t in range(30)]
    for t, out in enumerate(outs):  # StreamingLLM: what is held stands at 0, 1, ..., and the query at the end of it
        kept = np.array([j for j in range(t + 1) if j < 3 or t - j < 5])
        keys = rotary(k[..., kept, :], np.arange(len(kept)))
        want = definitions.attention(rotary(q[..., t : t + 1, :], np.array([len(kept) - 1])), keys, v[..., kept, :])
        np.testing.assert_allclose(out, want, **CLOSE)


@pytest.mark.parametrize("piece", [1, 3, 7, 99])
def test_how_much_of_a_chunk_is_taken_in_at_once_does_not_show(piece, monkeypatch):
    monkeypatch.setattr(quantized, "PIECE", piece)
    q, k, v = drawn(21)
    mask, bias = RNG.random((2, 1, 21, 21)) < 0.8, RNG.standard_normal((4, 21, 21))
    for options in ({}, {"mask": padding(np.array([21, 9]))}, {"mask": mask, "bias": bias, "sinks": np.ones(4)}):
        cache, twin = (QuantizedCache(bits=4, group=4, residual=3) for _ in range(2))
        out = cache.step(q, k, v, **options)
        given = [{name: option[..., t : t + 1, : t + 1] if isinstance(option, np.ndarray) and option.ndim > 1 else option
                  for name, option in options.items()} for t in range(21)]
        alone = [twin.step(*(x[..., t : t + 1, :] for x in (q, k, v)), **given[t]) for t in range(21)]
        np.testing.assert_allclose(out, np.concatenate(alone, axis=-2), **CLOSE)
        for name, tape in cache._held.tapes.items():
            np.testing.assert_array_equal(tape.rows, twin._held.tapes[name].rows)
        np.testing.assert_allclose(cache.step(q[..., -2:, :], k, v)[..., -1:, :], twin.step(q, k, v)[..., -1:, :], **CLOSE)


def test_heavy_hitters_keep_what_is_looked_at():
    cache = EvictingCache(HeavyHitters(heavy=2, recent=2))
    k = np.zeros((1, 12, 4))
    k[0, 1] = k[0, 4] = 3.0
    cache.step(np.ones((1, 12, 4)), k, k)
    np.testing.assert_array_equal(cache.view()[2], [[1, 4, 10, 11]])
    assert cache.length == 12


def test_snapkv_keeps_neighbours_of_what_its_window_looks_at():
    k = np.zeros((1, 20, 4))
    k[0, 7] = 9.0
    for kernel, kept in ((1, [0, 1, 7]), (3, [6, 7, 8])):
        cache = EvictingCache(SnapKV(budget=5, window=2, kernel=kernel))
        cache.step(np.ones((1, 20, 4)), k, k)
        np.testing.assert_array_equal(cache.view()[2], [[*kept, 18, 19]])
        cache.step(np.ones((1, 3, 4)), k[:, :3], k[:, :3])
        np.testing.assert_array_equal(cache.view()[2], [[*kept, 18, 19, 20, 21, 22]])


def test_what_every_cache_says_of_itself():
    named = [name for name in caches.__all__ if name.endswith("Cache") and name != "Cache"]
    assert len(named) == 13
    for name in named:
        text = inspect.getdoc(getattr(caches, name))
        assert re.search(r"exact|approximate", text), name
        assert "nbytes =" in text, name
        assert name in caches.__doc__, name


def test_a_bias_of_re_based_positions_is_that_of_the_places_in_the_cache():
    q, k, v = drawn(12)
    slope = np.array([0.5, 0.25, 0.1, 0.05])
    cache = RingCache(3, keep_first=2, rotate=lambda x, positions: x)
    for a, b in ((0, 11), (11, 12)):
        out = cache.step(*(x[..., a:b, :] for x in (q, k, v)), bias=alibi(slope))
    kept = [0, 1, 9, 10, 11]  # at the places 0 to 4, so that the query stands at 4
    want = definitions.attention(q[..., 11:, :], k[..., kept, :], v[..., kept, :], bias=alibi(slope))
    np.testing.assert_allclose(out, want, **CLOSE)
