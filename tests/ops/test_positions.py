"""Positions: the golden numbers, and what rotation, slopes and buckets must obey."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import ops
from tinyattn.engine.check import directional
from tinyattn.ops.positions.chunks import check_chunks
from tinyattn.ops.positions.rotary import rotary_from, turns

RNG = np.random.default_rng(0)
SIZE = 64 * np.finfo(np.float64).eps


def slow_rotary(x, positions, base, interleaved):
    out = np.array(x)
    dims = x.shape[-1]
    for index in np.ndindex(x.shape[:-1]):
        for pair in range(dims // 2):
            a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + dims // 2)
            z = complex(x[(*index, a)], x[(*index, b)])
            z *= complex(math.cos(positions[index[-1]] * base ** (-2 * pair / dims)),
                         math.sin(positions[index[-1]] * base ** (-2 * pair / dims)))
            out[(*index, a)], out[(*index, b)] = z.real, z.imag
    return out


@given(length=st.integers(0, 5), pairs=st.integers(0, 4), interleaved=st.booleans())
def test_rotary_is_a_complex_product(length, pairs, interleaved):
    x = RNG.standard_normal((2, length, 2 * pairs))
    positions = np.arange(length) * 7 - 5
    got = ops.rotary(x, positions, base=100.0, interleaved=interleaved)
    np.testing.assert_allclose(got, slow_rotary(x, positions, 100.0, interleaved), rtol=0, atol=SIZE * 8)


def test_rotary_keeps_norms_distances_and_layout():
    x, y = RNG.standard_normal((2, 6, 8))
    p, s = np.arange(6), 41
    np.testing.assert_allclose(np.linalg.norm(ops.rotary(x, p), axis=1), np.linalg.norm(x, axis=1), rtol=SIZE)
    near = (ops.rotary(x, p) * ops.rotary(y, p + 3)).sum(axis=1)
    far = (ops.rotary(x, p + s) * ops.rotary(y, p + 3 + s)).sum(axis=1)
    np.testing.assert_allclose(near, far, rtol=0, atol=SIZE * 50)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    np.testing.assert_array_equal(ops.rotary(x[:, order], p), ops.rotary(x, p, interleaved=True)[:, order])
    np.testing.assert_array_equal(ops.rotary(x, np.zeros(6, int)), x)
    np.testing.assert_array_equal(ops.rotary(x, p, dims=0), x)
    np.testing.assert_array_equal(ops.rotary(x, p, dims=4)[:, 4:], x[:, 4:])
    np.testing.assert_array_equal(ops.rotary(x, p, dims=4)[:, :4], ops.rotary(x[:, :4], p))


@pytest.mark.parametrize("start", [0, 3, 254, 255, 256, 700])
def test_a_run_is_turned_as_its_positions(start):
    for shape, dtype in (((1, 4), np.float64), ((2, 3, 6), np.float32), ((2, 0, 4), np.float64), ((3, 2, 300, 8), np.float64), ((2, 4), np.float16)):
        x = RNG.standard_normal(shape).astype(dtype)
        got = rotary_from(x, start, base=50.0)
        np.testing.assert_array_equal(got, ops.rotary(x, np.arange(start, start + shape[-2]), base=50.0))
        assert got.dtype == dtype
    for base in (100.0, 50.0):
        np.testing.assert_array_equal(rotary_from(x, start, base=base), ops.rotary(x, np.arange(start, start + 2), base=base))


def test_the_next_token_is_turned_by_what_is_kept():
    x = np.ones((1, 4))
    first = rotary_from(x, 5)
    made = turns.cache_info().misses
    assert not np.array_equal(rotary_from(x, 6), first)
    np.testing.assert_array_equal(rotary_from(x, 5), first)
    assert turns.cache_info().misses == made


def test_rotary_keeps_dtypes_and_inputs():
    for dtype in (np.float16, np.float32, np.float64):
        assert ops.rotary(np.ones((3, 4), dtype), np.arange(3)).dtype == dtype
    x = np.arange(24, dtype=np.float64).reshape(3, 8)[:, ::2]
    x.flags.writeable = False
    np.testing.assert_array_equal(ops.rotary(x, np.arange(3)), ops.rotary(x.copy(), np.arange(3)))
    far = ops.rotary(np.ones((1, 64), np.float32), np.array([10 ** 6]))
    np.testing.assert_allclose(far, ops.rotary(np.ones((1, 64)), np.array([10 ** 6])), rtol=0, atol=4e-7)


@pytest.mark.parametrize("f", [lambda x: ops.rotary(x, np.arange(3)), lambda x: ops.rotary(x, np.arange(3), dims=2),
                               lambda x: ops.rotary(x, np.arange(3), interleaved=True)])
def test_rotary_gradient(f):
    a, b = directional(f, RNG.standard_normal((2, 3, 4)), RNG)
    assert abs(a - b) < 1e-7


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: ops.rotary(np.ones((2, 3)), np.arange(2)), ValueError, "x: .*even head_dim.*3"),
    (lambda: ops.rotary(np.ones((2, 4)), np.array([0.0, 1.0])), TypeError, "positions.*float64"),
    (lambda: ops.rotary(np.ones((2, 4)), np.array([True, False])), TypeError, "positions.*bool"),
    (lambda: ops.rotary(np.ones((2, 4)), [0, 1]), TypeError, "positions.*list"),
    (lambda: ops.rotary(np.ones((2, 4)), np.arange(3)), ValueError, r"positions.*\(2,\).*\(3,\)"),
    (lambda: ops.rotary(np.ones((2, 4)), np.arange(2), dims=6), ValueError, "dims.*4.*6"),
    (lambda: ops.rotary(np.ones((2, 4)), np.arange(2), frequencies=np.ones(3)), ValueError, r"frequencies.*\(2,\)"),
    (lambda: ops.rotary(np.ones((2, 4)), np.arange(2), base=100.0, frequencies=np.ones(2)), ValueError, r"base, frequencies: .* got base 100.0"),
    (lambda: ops.rotary(np.ones((2, 4), int), np.arange(2)), TypeError, "x: .*int64"),
    (lambda: ops.plain_frequencies(4, base=float("nan")), ValueError, "base"),
    (lambda: ops.linear_frequencies(4, factor=0.5), ValueError, "factor"),
    (lambda: ops.ntk_frequencies(2, factor=2.0), ValueError, "dims"),
    (lambda: ops.llama3_frequencies(4, factor=2.0, original_length=8, low=4.0, high=1.0), ValueError, "low, high"),
    (lambda: ops.yarn_frequencies(4, factor=2.0, original_length=0), ValueError, "original_length"),
    (lambda: ops.alibi_slopes(0), ValueError, "heads"), (lambda: ops.alibi_slopes(1.5), TypeError, "heads"),
    (lambda: ops.sinusoidal(np.arange(2), 3), ValueError, "width.*3"),
    (lambda: ops.sinusoidal(np.array([0.5]), 4), TypeError, "positions"),
    (lambda: ops.t5_buckets(np.array([0.5]), causal=True), TypeError, "distance"),
    (lambda: ops.t5_buckets(np.arange(3), buckets=2, causal=False), ValueError, "buckets"),
    (lambda: ops.t5_buckets(np.arange(3), buckets=1, causal=False), ValueError, "at least 4 buckets.*got 1"),
    (lambda: ops.alibi(np.ones((2, 2))), ValueError, r"slopes.*\(2, 2\)"), (lambda: ops.alibi([0.5]), TypeError, "slopes"),
    (lambda: ops.relative(np.ones(3), abs), ValueError, "table"),
    (lambda: ops.relative(np.ones((3, 2)), abs).dense(5, 5), IndexError, r"buckets.*\(3, 2\).*0 to 4"),
])
def test_bad_positions_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_alibi_slopes_golden():
    for heads, want in ((1, [2 ** -8]), (2, [2 ** -4, 2 ** -8]), (3, [0.0625, 0.00390625, 0.25]),
                        (6, [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125])):
        np.testing.assert_array_equal(ops.alibi_slopes(heads), want)
    np.testing.assert_allclose(ops.alibi_slopes(12)[8:], [0.707107, 0.353553, 0.176777, 0.088388], rtol=1e-5)
    for heads in range(1, 41):
        doubled = ops.alibi_slopes(1 << heads.bit_length())
        assert set(ops.alibi_slopes(heads)) <= set(doubled)


def test_t5_buckets_golden():
    both = {-200: 15, -128: 15, -64: 14, -20: 10, -8: 8, -7: 7, -1: 1, 0: 0, 1: 17, 7: 23, 8: 24, 20: 26, 64: 30, 200: 31}
    np.testing.assert_array_equal(ops.t5_buckets(np.array(list(both)), causal=False), list(both.values()))
    one = {-200: 31, -128: 31, -113: 31, -112: 30, -64: 26, -32: 21, -17: 16, -16: 16, -15: 15, -1: 1, 0: 0, 3: 0}
    np.testing.assert_array_equal(ops.t5_buckets(np.array(list(one)), causal=True), list(one.values()))
    starts = [n for n in range(1, 200) if ops.t5_buckets(np.array(-n), causal=False)
              != ops.t5_buckets(np.array(1 - n), causal=False)]
    assert starts == [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]


def test_scaled_frequencies_golden():
    yarn = ops.yarn_frequencies(16, factor=4.0, original_length=64)
    np.testing.assert_allclose(yarn.values, [1, 0.237170825, 0.05, 0.007905694, 0.0025, 0.000790569, 0.00025, 0.000079057],
                               rtol=1e-5)
    assert abs(yarn.attention_factor - 1.138629) < 1e-6
    assert abs(ops.yarn_frequencies(64, factor=32.0, original_length=4096, base=150000.0).attention_factor - 1.346574) < 1e-6
    llama = ops.llama3_frequencies(16, factor=8.0, original_length=256)
    np.testing.assert_allclose(llama.values, [1, 0.316227766, 0.1, 0.006613106, 0.00125, 0.000395285, 0.000125, 0.000039528],
                               rtol=1e-8, atol=6e-10)


def test_factor_one_is_no_scaling():
    plain = ops.plain_frequencies(16).values
    for scaled in (ops.linear_frequencies(16, factor=1.0), ops.ntk_frequencies(16, factor=1.0),
                   ops.yarn_frequencies(16, factor=1.0, original_length=64),
                   ops.llama3_frequencies(16, factor=1.0, original_length=64),
                   ops.dynamic_ntk_frequencies(16, factor=4.0, original_length=64, length=64)):
        np.testing.assert_allclose(scaled.values, plain, rtol=SIZE)
        assert scaled.attention_factor == 1.0
    x = RNG.standard_normal((4, 8))
    np.testing.assert_allclose(ops.rotary(x, np.arange(4) * 4, frequencies=ops.linear_frequencies(8, factor=4.0)),
                               ops.rotary(x, np.arange(4)), atol=SIZE)
    ntk = ops.ntk_frequencies(16, factor=8.0).values
    np.testing.assert_allclose([plain[0] / ntk[0], plain[-1] / ntk[-1]], [1.0, 8.0], rtol=SIZE)
    yarn = ops.yarn_frequencies(8, factor=4.0, original_length=64)
    np.testing.assert_array_equal(ops.rotary(x, np.zeros(4, int), frequencies=yarn), x * yarn.attention_factor)


def test_sinusoids():
    table = ops.sinusoidal(np.arange(5), 6)
    for p in range(5):
        for i in range(3):
            assert abs(table[p, 2 * i] - math.sin(p * 10000 ** (-2 * i / 6))) < SIZE
            assert abs(table[p, 2 * i + 1] - math.cos(p * 10000 ** (-2 * i / 6))) < SIZE
    np.testing.assert_allclose((table ** 2).sum(axis=1), 3.0, rtol=SIZE)


def test_biases_are_rules_on_positions():
    dense = ops.alibi(np.array([0.5, 0.25])).dense(2, 4)
    assert dense.shape == (2, 2, 4)
    for h, slope in enumerate((0.5, 0.25)):
        for i in range(2):
            for j in range(4):
                assert dense[h, i, j] == -slope * abs(i + 2 - j)
    table = RNG.standard_normal((32, 3))
    buckets = lambda d: ops.t5_buckets(d, causal=True)
    bias = ops.relative(table, buckets)
    whole = bias.dense(6, 9)
    for i in range(6):
        for j in range(9):
            np.testing.assert_array_equal(whole[:, i, j], table[buckets(np.array(j - i - 3))])
    np.testing.assert_array_equal(bias.tile(np.arange(5, 7), np.arange(2, 6)), whole[:, 2:4, 2:6])
    a, b = directional(lambda t: ops.relative(t, buckets).dense(3, 3), table, RNG)
    assert abs(a - b) < 1e-7


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_by_tables_is_rotation_by_positions(interleaved):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 8))
    positions = np.arange(10).reshape(2, 1, 5)
    frequencies = ops.plain_frequencies(6).values
    angles = positions[..., None] * frequencies
    turned = ops.rotary_by(x, np.cos(angles), np.sin(angles), interleaved=interleaved)
    np.testing.assert_array_equal(turned, ops.rotary(x, positions, dims=6, interleaved=interleaved))
    np.testing.assert_array_equal(turned[..., 6:], x[..., 6:])
    assert ops.rotary_by(x.astype(np.float16), np.cos(angles), np.sin(angles)).dtype == np.float16


@pytest.mark.parametrize(("cos", "sin", "error", "words"), [
    (np.ones((5, 4)), np.ones((5, 3)), ValueError, "sin: expected the shape of cos"),
    (np.ones((5, 5)), np.ones((5, 5)), ValueError, "cos: expected at most half of the 8 channels"),
    (np.ones((4, 4)), np.ones((4, 4)), ValueError, "cos: expected a shape that broadcasts to"),
    (np.ones((5, 4), int), np.ones((5, 4)), TypeError, "cos"), (1.0, np.ones((5, 4)), TypeError, "cos"),
])
def test_tables_that_do_not_fit_are_named(cos, sin, error, words):
    with pytest.raises(error, match=words):
        ops.rotary_by(np.ones((2, 3, 5, 8)), cos, sin)

def test_the_largest_query_position_of_dual_chunks_is_that_of_the_clamp():
    q = np.zeros((1, 12, 4))
    assert check_chunks(q, q, 4, 2, "paper", None)[1] == 5
    assert check_chunks(q, q, 4, 2, "code", None)[1] == 6
    assert check_chunks(q, q, 2, 9, "code", None)[1] == 3
