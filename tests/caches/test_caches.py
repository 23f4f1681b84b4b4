"""What each cache does besides what every cache does: the laws, the machine and the faults have files of their own."""

import inspect
import re
from functools import partial

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
    LatentCache,
    PagePool,
    QuantizedCache,
    RingCache,
    SnapKV,
    StateCache,
    quantized,
)
from tinyattn.caches.tape import Tape
from tinyattn.layers.latent import LatentAttention
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.ops.masks import padding
from tinyattn.ops.positions.rotary import rotary

RNG = np.random.default_rng(0)
CLOSE = dict(rtol=1e-11, atol=1e-12)


def drawn(length, batch=2, heads=4, kv_heads=2, head_dim=4, value_dim=5):
    return (RNG.standard_normal((batch, heads, length, head_dim)), RNG.standard_normal((batch, kv_heads, length, head_dim)),
            RNG.standard_normal((batch, kv_heads, length, value_dim)))


def filled(cache, length=5):
    q, k, v = drawn(length)
    cache.append(k, v)
    return cache, (q, k, v)


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
    np.testing.assert_allclose(other.attend(q), out, **CLOSE)
    np.testing.assert_array_equal(other.attend(q), other.attend(q))


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


def test_a_ring_turns_far_queries_to_their_place_in_the_cache():
    q, k, v = drawn(30)
    cache = RingCache(5, keep_first=3, rotate=rotary)
    outs = [cache.step(*(x[..., t : t + 1, :] for x in (q, k, v))) for t in range(30)]
    for t, out in enumerate(outs):  # StreamingLLM: what is held stands at 0, 1, ..., and the query at the end of it
        kept = np.array([j for j in range(t + 1) if j < 3 or t - j < 5])
        keys = rotary(k[..., kept, :], np.arange(len(kept)))
        want = definitions.attention(rotary(q[..., t : t + 1, :], np.array([len(kept) - 1])), keys, v[..., kept, :])
        np.testing.assert_allclose(out, want, **CLOSE)


def test_a_state_is_asked_without_its_keys():
    asked = []

    def spy(q, k, v, **options):
        asked.append(k.shape[-2])
        return definitions.linear_attention_chunked(q, k, v, **options)

    spy.__signature__ = inspect.signature(definitions.linear_attention_chunked)
    cache, (q, _, _) = filled(StateCache(spy), 5)
    size = cache.nbytes
    cache.append(*drawn(100)[1:])
    assert cache.nbytes == size == 2 * 2 * 4 * (5 + 1) * 8
    asked.clear()
    cache.attend(q[..., :1, :])
    assert asked == [0]
    with pytest.raises(ValueError, match=r"q_len 2.*step"):
        cache.attend(q[..., :2, :])


GATED = partial(definitions.gated_delta_rule_chunked, chunk=4)


def gated(length):
    q, k, v = drawn(length)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    return q, k, v, {"log_decay": -RNG.random((2, 2, length)), "beta": RNG.random((2, 2, length))}


def test_a_state_with_gates_is_cut_reordered_saved_and_forked(tmp_path):
    q, k, v, gates = gated(20)

    def part(cache, start, stop):
        return cache.step(*(x[..., start:stop, :] for x in (q, k, v)), **{name: gate[..., start:stop] for name, gate in gates.items()})

    full = GATED(q, k, v, **gates)
    cache = StateCache(GATED, slack=4)
    part(cache, 0, 15)
    for cut in (15, 12, 11, 9):  # check-points at 8 and 12
        cache.truncate(cut)
        np.testing.assert_allclose(part(cache.fork(), cut, 20), full[..., cut:, :], **CLOSE)
    cache.save(tmp_path / "state")
    cache = StateCache.load(tmp_path / "state", mechanism=GATED)
    cache.truncate(8)
    cache.reorder([1, 1])
    out = part(cache.fork(), 8, 9)
    cache.append(k[..., 8:9, :], v[..., 8:9, :], **{name: gate[..., 8:9] for name, gate in gates.items()})
    np.testing.assert_allclose(cache.attend(q[..., 8:9, :]), out, **CLOSE)
    np.testing.assert_allclose(out[1], full[1, :, 8:9], **CLOSE)
    with pytest.raises(ValueError, match="lengths from 8 on, got 7; slack=4"):
        cache.truncate(7)


def test_gates_where_there_are_none_are_refused():
    cache, (_, k, v) = filled(StateCache())
    with pytest.raises(ValueError, match="beta: linear_attention_chunked takes no such gate"):
        cache.append(k, v, beta=np.ones((2, 2, 5)))


def test_options_that_a_file_would_lose_are_not_saved(tmp_path):
    q, k, v = drawn(3)
    cache = StateCache(slack=2)
    cache.step(q, k, v, normalize=False)
    with pytest.raises(ValueError, match="save: normalize: was given to step and would be lost"):
        cache.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


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
    before = [array.tobytes() for array in parent._arrays().values()]
    child = parent.fork()
    child.truncate(6)
    child.append(*drawn(2)[1:])
    assert [array.tobytes() for array in parent._arrays().values()] == before
    parent.truncate(6)
    after = [array.tobytes() for array in child._arrays().values()]
    parent.append(*drawn(2)[1:])
    assert [array.tobytes() for array in child._arrays().values()] == after


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


MODELS = {"GrowingCache": GrowingCache, "FixedCache": partial(FixedCache, 40), "RingCache": partial(RingCache, 40),
          "PagedCache": PagePool(200, 4).sequence, "QuantizedCache": partial(QuantizedCache, residual=40),
          "EvictingCache": partial(EvictingCache, HeavyHitters(20, 20)), "BatchCache": partial(caches.BatchCache, None)}


@pytest.mark.parametrize("name", MODELS)
def test_a_decoder_writes_the_same_through_every_cache(name):
    config = DecoderConfig(layers=2, width=16, heads=4, kv_heads=2, hidden=24)
    decoder = Decoder.create(config, np.random.default_rng(0)).astype(np.float64)
    tokens = np.random.default_rng(1).integers(0, 256, (2, 20))
    held = [MODELS[name]() for _ in decoder.blocks]
    logits = [decoder(tokens[:, a:b], caches=held) for a, b in ((0, 11), (11, 12), (12, 20))]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), decoder(tokens), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("row", [GrowingCache, partial(RingCache, 4)])
def test_a_decoder_reads_rows_of_different_lengths_as_if_each_were_alone(side, row):
    config = DecoderConfig(layers=2, width=16, heads=4, kv_heads=2, hidden=24)
    decoder = Decoder.create(config, np.random.default_rng(0)).astype(np.float64)
    texts, lengths = [np.random.default_rng(n).integers(0, 256, n + 2) for n in (7, 3)], (7, 3)
    own = [slice(7 - n, 7) if side == "left" else slice(0, n) for n in lengths]
    padded = np.zeros((2, 7), np.int64)
    for into, text, place in zip(padded, texts, own, strict=True):
        into[place] = text[:-2]
    held = [caches.BatchCache(lengths, row, padding=side) for _ in decoder.blocks]
    first = decoder(padded, caches=held, positions=held[0].positions(7))
    rest = decoder(np.stack([text[-2:] for text in texts]), caches=held, positions=held[0].positions(2))
    for b, text in enumerate(texts):
        alone = [row() for _ in decoder.blocks]
        want = np.concatenate([decoder(text[None, t : t + 1], caches=alone) for t in range(len(text))], axis=1)[0]
        np.testing.assert_allclose(np.concatenate((first[b, own[b]], rest[b])), want, rtol=1e-10, atol=1e-10)


def test_latents_are_all_that_a_latent_layer_keeps():
    config = DecoderConfig(layers=2, width=16, heads=4, kv_heads=2, hidden=24)
    decoder = Decoder.create(config, np.random.default_rng(0), layer=LatentAttention.create).astype(np.float64)
    tokens = np.random.default_rng(1).integers(0, 256, (2, 9))
    held = [LatentCache() for _ in decoder.blocks]
    logits = [decoder(tokens[:, a:b], caches=held) for a, b in ((0, 5), (5, 6), (6, 9))]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), decoder(tokens), rtol=1e-10, atol=1e-10)
    layer = decoder.blocks[0].attention
    rope = layer.down.shape[1] - layer.w_uk.shape[1]
    assert held[0].nbytes == 2 * 9 * (layer.w_uk.shape[1] + rope) * 8


def test_what_every_cache_says_of_itself():
    for name in caches.__all__:
        text = inspect.getdoc(getattr(caches, name)) or ""
        if name.endswith("Cache") and name != "Cache":
            assert re.search(r"exact|approximate", text), name
            assert "nbytes =" in text, name
            assert name in (caches.__doc__ or ""), name
