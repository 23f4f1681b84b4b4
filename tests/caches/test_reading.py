"""Keys in parts, in pages and packed are read as if they lay in one array."""

import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import definitions
from tinyattn.caches import EvictingCache, HeavyHitters, QuantizedCache, code_reading, page_reading
from tinyattn.caches import parts as part_reading
from tinyattn.laws.draw import draw_sizes, softmax, without
from tinyattn.laws.problem import Sizes, arrays
from tinyattn.ops.bias import alibi
from tinyattn.ops.masks import padding
from tinyattn.ops.quantize import dequantize, quantize
from tinyattn.testing.compare import assert_within_budget

OPTIONS = softmax(*without(["causal"]))


def problem(seed, names=OPTIONS, **changes):
    rng = np.random.default_rng(seed)
    return rng, names(rng, draw_sizes(rng, **changes)).but(causal=True)


def split(rng, length):
    """Returns cuts of 0 to length into parts, empty ones among them, and an order of the parts."""
    cuts = np.sort(np.concatenate(([0, length], rng.integers(0, length + 1, 3))))
    return [np.arange(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


@given(seed=st.integers(0, 2 ** 32), dtype=st.sampled_from(["float64", "float32"]))
def test_parts_in_any_order_are_the_whole(seed, dtype):
    rng, p = problem(seed, dtype=dtype)
    parts = [rng.permutation(positions) for positions in split(rng, p.k.shape[-2])]

    def in_parts(q, k, v, *, causal, **options):
        shuffled = [parts[i] for i in rng.permutation(len(parts))]
        return part_reading.attend_parts(q, [(k[..., at, :], v[..., at, :], at) for at in shuffled], k.shape[-2], **options)

    assert_within_budget(in_parts, p, honest=definitions.attention, rng=rng)


def paged(rng, k, v, size, spare=2):
    """Returns a pool in which each row's tokens lie in pages of a random order, NaN wherever nothing was written."""
    rows, kv_heads, length, dim = k.shape
    blocks = -(-length // size)
    order = rng.permutation(rows * blocks + spare)[: rows * blocks].reshape(rows, blocks)
    pools = [np.full((rows * blocks + spare, kv_heads, size, x.shape[-1]), np.nan, x.dtype) for x in (k, v)]
    for row in range(rows):
        for p in range(length):
            for pool, x in zip(pools, (k, v), strict=True):
                pool[order[row, p // size], :, p % size] = x[row, :, p]
    return *pools, order.astype(np.int64)


@given(seed=st.integers(0, 2 ** 32), size=st.sampled_from([1, 2, 3, 16]), dtype=st.sampled_from(["float64", "float32"]))
def test_pages_of_any_size_in_any_order_are_the_whole(seed, size, dtype):
    rng, p = problem(seed, softmax(*without(["causal"]), fit=lambda s: Sizes(**{**s.__dict__, "leading": (2,)})), dtype=dtype)

    def in_pages(q, k, v, *, causal, **options):
        return page_reading.paged_attention(q, *paged(rng, k, v, size), np.full(len(q), k.shape[-2]), **options)

    assert_within_budget(in_pages, p, honest=definitions.attention, rng=rng)


@pytest.mark.parametrize("part", [1, 2, 5, 1000])
def test_how_many_pages_are_gathered_at_a_time_does_not_show(part):
    rng = np.random.default_rng(0)
    p = arrays(rng, Sizes(kv_len=23))
    keys, values, tables = paged(rng, p.k, p.v, 3)
    out = part_reading.attend_parts(p.q[0], page_reading.page_parts(keys, values, tables[0], 23, part), 23)
    np.testing.assert_allclose(out, p.but(causal=True).call(definitions.attention)[0], rtol=1e-13, atol=1e-14)


def test_rows_of_different_lengths_stand_at_their_own_last_positions():
    rng = np.random.default_rng(1)
    p = arrays(rng, Sizes(leading=(3,), q_len=2, kv_len=9), bias=rng.standard_normal((3, 4, 2, 9)))
    keys, values, tables = paged(rng, p.k, p.v, 4)
    lengths = np.array([9, 2, 5])
    mask = padding(np.array([9, 9, 3]))
    out = page_reading.paged_attention(p.q, keys, values, tables, lengths, mask=mask, bias=p.options["bias"])
    for row, n in enumerate(lengths):
        alone = definitions.attention(p.q[row], p.k[row, :, :n], p.v[row, :, :n], causal=True, bias=p.options["bias"][row, ..., :n],
                                      mask=mask.dense(2, 9)[row][..., -2:, :n])
        np.testing.assert_allclose(out[row], alone, rtol=1e-13, atol=1e-14)
    assert page_reading.paged_attention(p.q[:0], keys, values, tables[:0], lengths[:0]).shape == (0, 4, 2, 3)


@given(seed=st.integers(0, 2 ** 32), bits=st.sampled_from([4, 8]), group=st.sampled_from([1, 2, 4]),
       few=st.sampled_from([0, code_reading.FEW]))
def test_packed_tokens_are_read_as_their_numbers(seed, bits, group, few):
    rng, p = problem(seed)
    n = p.k.shape[-2] // 2 // group * group
    keys, values = (quantize(x[..., :n, :], bits=bits, group=group, axis=axis) for x, axis in ((p.k, -2), (p.v, -1)))
    meant = p.but(k=np.concatenate((dequantize(keys), p.k[..., n:, :]), axis=-2),
                  v=np.concatenate((dequantize(values), p.v[..., n:, :]), axis=-2))

    def in_codes(q, k, v, *, causal, **options):
        return code_reading.quantized_attention(q, keys, values, k[..., n:, :], v[..., n:, :], **options)

    with patch.object(code_reading, "FEW", few):  # in parts, or all at once
        assert_within_budget(in_codes, meant, honest=definitions.attention, rng=rng)


def test_packed_tokens_are_never_all_unpacked():
    x = np.random.default_rng(0).standard_normal((1, 4, 16384, 32)).astype(np.float32)
    keys, values = (quantize(x, bits=4, group=32, axis=axis) for axis in (-2, -1))
    q = x[..., :1, :]
    code_reading.quantized_attention(q, keys, values, x[..., :8, :], x[..., :8, :])  # what compiling takes does not count
    tracemalloc.start()
    code_reading.quantized_attention(q, keys, values, x[..., :8, :], x[..., :8, :])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4


def test_halves_are_added_up_in_single_precision():
    p = arrays(np.random.default_rng(0), Sizes(kv_len=9, q_len=2), causal=True)
    half = p.astype(np.float16)
    parts = [(half.k[..., at, :], half.v[..., at, :], at) for at in np.array_split(np.arange(9), 9)]
    out = part_reading.attend_parts(half.q, parts, 9, bias=alibi(np.full(4, 0.5)), sinks=np.ones(4))
    assert out.dtype == np.float16
    exact = half.astype(np.float64).call(definitions.attention, bias=alibi(np.full(4, 0.5)), sinks=np.ones(4))
    np.testing.assert_allclose(out, exact, rtol=0, atol=np.finfo(np.float16).eps * np.abs(p.v).max())


def test_options_are_checked_against_the_whole():
    p = arrays(np.random.default_rng(0), Sizes(q_len=1))
    parts = [(p.k, p.v, np.arange(7))]
    for name, option, error in (("mask", np.ones((1, 6), bool), ValueError), ("bias", np.ones((1, 6)), ValueError),
                                ("window", (-1, 0), ValueError), ("sinks", np.ones(3), ValueError), ("mask", np.ones((1, 7)), TypeError)):
        with pytest.raises(error, match=name):
            part_reading.attend_parts(p.q, parts, 7, **{name: option})
    with pytest.raises(ValueError, match="parts: expected at least one"):
        part_reading.attend_parts(p.q, [], 7)


def test_a_head_without_a_sink_whose_queries_see_nothing_reads_zero():
    p = arrays(np.random.default_rng(0), Sizes(kv_len=4, q_len=2))
    parts = [(p.k[..., at, :], p.v[..., at, :], at) for at in (np.arange(2), np.arange(2, 4))]
    out = part_reading.attend_parts(p.q, parts, 4, mask=np.array([[False], [True]]), sinks=np.array([-np.inf, -np.inf, 0.0, 1.0]))
    assert (out[..., 0, :] == 0).all()
    want = p.but(causal=True).call(definitions.attention, sinks=np.array([-np.inf, -np.inf, 0.0, 1.0]))
    np.testing.assert_allclose(out[..., 1, :], want[..., 1, :], rtol=1e-13, atol=1e-14)


def test_tables_that_name_no_page_are_refused():
    q, pool = np.zeros((1, 1, 1, 2)), np.zeros((3, 1, 2, 2))
    for table, lengths, words in (([[3]], [1], "pages 0 to 2, got 3 to 3"), ([[-1]], [1], "got -1"), ([[0]], [3], "0 to the 2 tokens of 1 pages"),
                                  ([[0]], [-1], "got -1"), ([[0]], [1, 1], r"lengths \(rows,\)"), ([0], [1], "tables: expected"),
                                  ([[0], [1]], [1, 1], "tables: expected")):
        with pytest.raises(ValueError, match=words):
            page_reading.paged_attention(q, pool, pool, np.array(table, np.int64), np.array(lengths, np.int64))
    with pytest.raises(ValueError, match="int64, lengths .* got int32"):
        page_reading.paged_attention(q, pool, pool, np.zeros((1, 1), np.int32), np.array([1]))


def test_what_has_evicted_nothing_is_read_again():
    cache, p = EvictingCache(HeavyHitters(4, 4)), arrays(np.random.default_rng(0), Sizes(q_len=6, kv_len=6))
    out = cache.step(p.q, p.k, p.v)
    np.testing.assert_allclose(cache.attend(p.q[..., -2:, :]), out[..., -2:, :], rtol=1e-12, atol=1e-14)


def test_a_chunk_of_several_pieces_without_a_batch_gives_the_rows_of_all():
    p, whole, parts = arrays(np.random.default_rng(0), Sizes(leading=(), q_len=300, kv_len=300)), *(QuantizedCache(group=32, residual=8) for _ in range(2))
    cuts = [[x[..., part, :] for x in (p.q, p.k, p.v)] for part in (slice(0, 100), slice(100, 300))]
    want = np.concatenate([parts.step(*cut) for cut in cuts], axis=-2)
    np.testing.assert_allclose(whole.step(p.q, p.k, p.v), want, rtol=1e-12, atol=1e-14)
