"""Weights that are no softmax, by blocks of rows: more blocks than one, counts of keys, gates far below any score, long sums."""

import sys

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.softmax import counts
from tinyattn.ops import masks
from tinyattn.ops.options import count_visible, visible_keys

RNG = np.random.default_rng(0)
Q, K, V = (RNG.standard_normal((2, heads, n, 4)) for heads, n in ((4, 37), (2, 41), (2, 41)))
MASK = RNG.random((2, 4, 37, 41)) < 0.6
MASK[:, :, 5] = False
BIAS = RNG.standard_normal((4, 1, 41))
OPTIONS = [{}, {"causal": True, "softcap": 1.5}, {"window": (5, 2)}, {"mask": MASK, "bias": BIAS}, {"mask": MASK[0, :1]},
           {"mask": masks.strided(3) | masks.first(2), "bias": BIAS[..., :1]}]


def slopes(f, **options):
    """Returns the output and the gradients of q, k and v."""
    out, pull = vjp(lambda t: f(*t, **options), (Q, K, V))
    return out, *pull(np.cos(np.arange(out.size)).reshape(out.shape))


def close(f, g, **options):
    for a, b in zip(slopes(f, **options), slopes(g, **options), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("options", OPTIONS, ids=[" ".join(options) or "plain" for options in OPTIONS])
@pytest.mark.parametrize("name", ["sparsemax_attention", "entmax_attention"])
def test_blocks_of_eight_rows_give_what_one_gives(name, options, monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.softmax.entmax"], "fits", lambda *call: False)
    monkeypatch.setattr(sys.modules["tinyattn.kernels.softmax.row_blocks"], "PART_BYTES", 1)
    monkeypatch.setattr(sys.modules["tinyattn.kernels.softmax.row_blocks"], "LEAST", 8)
    close(getattr(definitions, name), getattr(kernels, name), **options)


@pytest.mark.parametrize("name", ["sparsemax_attention", "entmax_attention", "stick_breaking_attention", "sigmoid_attention"])
def test_heads_that_a_layer_has_split_have_gradients(name):
    heads = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in (Q, K, V)]
    d_out = np.cos(np.arange(Q.size)).reshape(Q.shape)
    got, want = (vjp(lambda t, f=getattr(kernels, name): f(*t), given)[1](d_out) for given in (heads, [Q, K, V]))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("q_len", "kv_len"), [(0, 3), (1, 5), (7, 5), (200, 200), (70, 141)])
@pytest.mark.parametrize("mask", [None, masks.strided(3), np.arange(5)[:, None, None] % 2 == 0], ids=["none", "pattern", "heads"])
def test_keys_are_counted_without_a_square(q_len, kv_len, mask):
    full = (5, q_len, kv_len)
    for causal, window in ((False, None), (True, None), (True, (3, 0)), (False, (2, 1))):
        got = counts.counts_of(mask, causal, window, full, np.float64)
        want = count_visible(visible_keys(mask, causal, window, full), full, np.float64)
        np.testing.assert_array_equal(np.broadcast_to(got, (5, q_len, 1)), np.broadcast_to(want, (5, q_len, 1)))


@pytest.mark.parametrize("q_len", [3, 37])
@pytest.mark.parametrize("low", [-np.inf, -1e30, -3000.0, -40.0])
def test_a_gate_far_below_any_score_is_closed(low, q_len):
    gates = np.where(RNG.random((2, 4, 41)) < 0.2, low, -RNG.random((2, 4, 41)))
    q = Q[..., -q_len:, :] * 3.0
    got, want = (f.forgetting_attention(q, K, V, log_forget=gates) for f in (kernels, definitions))
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("queries", [3000, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_sums_of_gates_lose_no_digits(dtype, queries):
    n = 3000
    q, k, v = (RNG.standard_normal((1, n, 8)).astype(dtype) for _ in range(3))
    gates = (-2.0 * RNG.random((1, n))).astype(dtype)  # their sum is about -3000, which takes 11 bits of the digits
    got = kernels.forgetting_attention(q[:, -queries:], k, v, log_forget=gates)[:, -16:]
    late = [x.astype(np.float64) for x in (q[:, -got.shape[1]:], k[:, -200:], v[:, -200:], gates[:, -200:])]
    want = definitions.forgetting_attention(*late[:3], log_forget=late[3])  # what lies farther back has a weight below e^-100
    np.testing.assert_allclose(got, want, rtol=0, atol=25 * np.finfo(dtype).eps)
