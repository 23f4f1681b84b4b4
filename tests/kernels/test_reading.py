"""Keys in parts, in pages and packed: the kernels that read them in place give what the definition gives of them side by side."""

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.kernels.exact import reading
from tinyattn.kernels.tiles.threads import threads
from tinyattn.laws.problem import Problem
from tinyattn.ops import ScoreRule, alibi
from tinyattn.ops.quantize import dequantize, quantize
from tinyattn.testing import assert_within_budget

RNG = np.random.default_rng
# (rows, heads, kv_heads, q_len, kv_len): 1, a block's edge, more lines than a kernel takes, rows == heads, q_len == head_dim.
SHAPES = [(1, 2, 2, 1, 1), (2, 2, 1, 2, 5), (1, 4, 2, 3, 1100), (2, 4, 2, 1, 300), (2, 8, 2, 21, 64), (1, 2, 2, 32, 33)]
OPTIONS = {"plain": {}, "window": {"window": (7, 0)}, "softcap-sinks": {"softcap": 2.0, "sinks": 1}, "alibi": {"bias": 1}, "bias": {"bias": 2}, "rule": {"score": 1},
           "rule-window": {"score": 1, "window": (7, 0), "softcap": 2.0}}
CASES = pytest.mark.parametrize(("shape", "options"), [(s, o) for s in SHAPES for o in OPTIONS])


def rule(s, i, j, head, query, key, pair, row, both):
    """Another number for every pair, NaN where a key is later than the query."""
    return s * head + np.sqrt(i - j) * query - key * pair * np.tanh(s) + row * both * np.cos(i * j)


def drawn(shape, options, dtype=np.float64):
    rows, heads, kv_heads, q_len, kv_len = shape
    rng = RNG(sum(shape))
    q = rng.standard_normal((rows, heads, q_len, 32)).astype(dtype)
    k, v = rng.standard_normal((2, rows, kv_heads, kv_len, 32)).astype(dtype)
    made = {"sinks": rng.standard_normal(heads), "alibi": alibi(np.linspace(0.1, 1.0, heads)), "bias": rng.standard_normal((heads, q_len, kv_len))}
    numbers = [rng.random(size) for size in ((heads, 1, 1), (q_len, 1), (kv_len,), (heads, q_len, kv_len), (rows, 1, q_len, 1), (q_len, kv_len))]
    made |= dict.fromkeys(("rule", "rule-window"), ScoreRule(rule, *numbers))
    given = {n: made["sinks"] if n == "sinks" else made[options] if n in ("bias", "score") else o for n, o in OPTIONS[options].items()}
    return Problem(q, k, v, given)


def in_pages(x, size, tables):
    """Pages of a pool whose unwritten slots hold NaN."""
    pool = np.full((tables.size + 1, x.shape[1], size, x.shape[-1]), np.nan, x.dtype)
    for row, token in np.ndindex(x.shape[0], x.shape[2]):
        pool[tables[row, token // size], :, token % size] = x[row, :, token]
    return pool


def packed(p, held, bits, channels=32):
    """Keys and values as a cache holds them: packed, new ones, and the numbers that the packed ones stand for."""
    keys = quantize(p.k[..., :held, :], bits=bits, group=16, axis=-2)
    values = quantize(p.v[..., :held, :], bits=bits, group=channels, axis=-1)
    meant = [np.concatenate((dequantize(x), new[..., held:, :]), axis=-2) for x, new in ((keys, p.k), (values, p.v))]
    return (keys, values, p.k[..., held:, :], p.v[..., held:, :]), p.but(k=meant[0], v=meant[1])


def close(got, p):
    np.testing.assert_allclose(got, p.call(definitions.attention, causal=True), rtol=1e-11, atol=1e-12)


@CASES
@pytest.mark.parametrize("cut", [0, 1, 2 / 3])
def test_parts_in_another_order(shape, options, cut):
    p = drawn(shape, options)
    at = int(cut * shape[-1])
    parts = [(p.k[..., at:, :], p.v[..., at:, :], at), (p.k[..., :at, :], p.v[..., :at, :], 0)]
    close(reading.attend_parts(p.q, parts, shape[-1], **p.options), p)


@CASES
@pytest.mark.parametrize("size", [4, 16])
def test_pages_behind_which_lies_nan(shape, options, size):
    p = drawn(shape, options)
    tables = RNG(1).permutation(shape[0] * -(-shape[-1] // size)).reshape(shape[0], -1).astype(np.int64)
    pools = in_pages(p.k, size, tables), in_pages(p.v, size, tables)
    close(reading.paged_attention(p.q, *pools, tables, np.full(shape[0], shape[-1]), **p.options), p)


@pytest.mark.parametrize("options", [{"bias": alibi(np.linspace(0.1, 1.0, 4))},
                                     {"score": ScoreRule(lambda s, i, j, p: s * p + np.cos(i * j), np.linspace(0.5, 1.0, 4)[:, None, None])}])
def test_rows_of_other_lengths(options):
    p = drawn((3, 4, 2, 2, 70), "plain").but(**options)
    lengths = np.array([70, 2, 33])
    tables = np.arange(3 * 18).reshape(3, 18)
    got = reading.paged_attention(p.q, in_pages(p.k, 4, tables), in_pages(p.v, 4, tables), tables, lengths, **p.options)
    for row, length in enumerate(lengths):
        close(got[row], Problem(p.q[row], p.k[row, :, :length], p.v[row, :, :length], p.options))


@CASES
@pytest.mark.parametrize("bits", [8, 4])
def test_packed_and_new(shape, options, bits):
    given, meant = packed(drawn(shape, options), (shape[-1] - 1) // 16 * 16, bits)
    close(reading.quantized_attention(meant.q, *given, **meant.options), meant)


def test_groups_of_a_token_and_of_few_channels():
    p = drawn((1, 4, 2, 1, 50), "plain")
    keys, values = quantize(p.k[..., :39, :], bits=8, group=3, axis=-2), quantize(p.v[..., :39, :], bits=8, group=16, axis=-1)
    meant = [np.concatenate((dequantize(x), new[..., 39:, :]), axis=-2) for x, new in ((keys, p.k), (values, p.v))]
    close(reading.quantized_attention(p.q, keys, values, p.k[..., 39:, :], p.v[..., 39:, :]), p.but(k=meant[0], v=meant[1]))


@pytest.mark.parametrize("name", ["parts", "pages", "packed"])
def test_float32_is_within_the_budget_and_threads_change_no_bit(name):
    p = drawn((2, 4, 2, 2, 5000), "softcap-sinks", np.float32)
    tables = RNG(2).permutation(2 * 313).reshape(2, 313).astype(np.int64)
    pools = in_pages(p.k, 16, tables), in_pages(p.v, 16, tables)
    given, meant = packed(p, 4992, 8)
    calls = {"parts": (lambda: reading.attend_parts(p.q, [(p.k, p.v, 0)], 5000, **p.options), p),
             "pages": (lambda: reading.paged_attention(p.q, *pools, tables, np.full(2, 5000), **p.options), p),
             "packed": (lambda: reading.quantized_attention(p.q, *given, **p.options), meant)}
    call, problem = calls[name]
    outs = []
    for number in (1, 2, 5):
        with threads(number):
            outs.append(call())
    assert all(np.array_equal(outs[0], out) for out in outs[1:])
    assert_within_budget(lambda *_, **__: outs[0], problem.but(causal=True), honest=definitions.attention, rng=RNG(0))


def test_what_no_query_sees_may_be_nan():
    p = drawn((1, 2, 2, 1, 300), "window")
    k, v = p.k.copy(), p.v.copy()
    k[..., :292, :] = v[..., :292, :] = np.nan
    close(reading.attend_parts(p.q, [(k, v, 0)], 300, **p.options), p)
    tables = np.arange(75)[None]
    close(reading.paged_attention(p.q, in_pages(k, 4, tables), in_pages(v, 4, tables), tables, np.array([300]), **p.options), p)


def test_what_the_kernels_do_not_read_is_said():
    q, x = np.ones((1, 4, 1, 32), np.float32), np.ones((1, 2, 8, 32), np.float32)
    assert reading.reads_pages(q, x, x)
    refused = [(q.astype(np.float16), x), (q[:, :3], x), (q[..., :7], x), (q[..., :16], x), (q[..., :0, :], x), (q, x.astype(float)),
               (q, x[..., :6, :]), (q, x[..., :5])]
    assert not any(reading.reads_pages(queries, pages, pages) for queries, pages in refused)
    packed = {(group, axis): quantize(x, bits=4, group=group, axis=axis) for group in (4, 32) for axis in (-2, -1) if 8 % group == 0 or axis == -1}
    assert reading.reads_packed(q, packed[4, -2], packed[32, -1], x, x)
    assert not reading.reads_packed(q, packed[4, -2], packed[4, -1], x, x)
    assert not reading.reads_packed(q.astype(float), packed[4, -2], packed[32, -1], x.astype(float), x.astype(float))
