"""Unit rows, times a factor per head: numbers whose squares have no place in the dtype, zeros, parts of rows, gradients."""

import numpy as np
import pytest

from tinyattn import grad, kernels, vjp
from tinyattn.kernels.softmax import around, norms
from tinyattn.ops.norm import unit

RNG = np.random.default_rng


def rows(dtype):
    """Returns (2, 3, 5, 4): rows of many sizes, and one of zeros."""
    x = RNG(0).standard_normal((2, 3, 5, 4))
    x *= np.geomspace(1e-30, 1e30, 30).reshape(2, 3, 5, 1)
    x[1, 1, 2] = 0
    return x.astype(dtype)


@pytest.mark.parametrize("part", [1, 9, 1 << 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaled", [False, True])
def test_unit_rows_and_their_gradients_are_those_of_the_function_with_rules(scaled, dtype, part, monkeypatch):
    monkeypatch.setattr(around, "PART", part)
    x, factor = rows(dtype), np.array([0.5, 2.0, -3.0], dtype)[:, None, None] if scaled else None
    d_out = RNG(1).standard_normal(x.shape).astype(dtype)
    tree = {"x": x} | ({"factor": factor} if scaled else {})
    with np.errstate(all="raise"):
        got, pull = vjp(lambda t: norms.unit_times(t["x"], t.get("factor")), tree)
        slopes = pull(d_out)
    want, plain = vjp(lambda t: norms.unit_in_numpy(t["x"], t.get("factor")), {n: a.astype(np.float64) for n, a in tree.items()})
    wanted = plain(d_out.astype(np.float64))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, want, rtol=8 * eps)
    assert not got[1, 1, 2].any() and not slopes["x"][1, 1, 2].any()
    # Of a direction's gradient what lies along the row is taken away: what is left errs with the whole of it.
    length = np.sqrt(np.vecdot(x.astype(np.float64), x))
    np.testing.assert_allclose(slopes["x"] * length[..., None], wanted["x"] * length[..., None], rtol=0, atol=64 * eps)
    if scaled:
        np.testing.assert_allclose(slopes["factor"], wanted["factor"], rtol=32 * eps, atol=32 * eps)


def test_a_second_derivative_walks_the_function_with_rules():
    x = RNG(2).standard_normal((2, 3))
    twice = [grad(lambda x, f=f: (grad(lambda x: (f(x) ** 3).sum())(x) ** 2).sum())(x) for f in (lambda x: norms.unit_times(x, None), unit)]
    np.testing.assert_allclose(*twice, rtol=1e-10)


def test_cosine_attention_of_no_queries_and_no_keys():
    for q_len, kv_len in ((0, 3), (3, 0), (0, 0)):
        q, k = np.ones((2, q_len, 4)), np.ones((2, kv_len, 4))
        out, pull = vjp(lambda t: kernels.cosine_attention(*t, log_scale=np.zeros(2)), (q, k, k))
        assert out.shape == (2, q_len, 4) and not out.any()
        assert [g.shape for g in pull(out)] == [q.shape, k.shape, k.shape]
