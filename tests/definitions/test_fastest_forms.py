"""The form that is fastest for a call gives what the definition gives."""

import numpy as np
import pytest

from tinyattn import definitions, fastest, in_numpy
from tinyattn.engine import Tensor, grad
from tinyattn.ops import masks


def test_fastest_cuts_batches_and_streams():
    rng = np.random.default_rng(12)
    q, k, v = rng.standard_normal((6, 2, 300, 4)), rng.standard_normal((6, 1, 300, 4)), rng.standard_normal((6, 1, 300, 3))
    for options in ({"causal": True}, {"mask": rng.random((300, 300)) < 0.5}, {"mask": rng.random((6, 1, 300, 300)) < 0.5},
                    {"mask": masks.padding(np.arange(6) * 50)}, {"bias": rng.standard_normal((1, 2, 300, 1))}):
        np.testing.assert_allclose(fastest.attention(q, k, v, **options), definitions.attention(q, k, v, **options), rtol=0, atol=5e-14)
    t = Tensor(q)
    fastest.attention(t, k, v, causal=True).sum().backward()
    np.testing.assert_allclose(t.grad, grad(lambda x: definitions.attention(x, k, v, causal=True).sum())(q), rtol=0, atol=5e-14)
    long = rng.standard_normal((1, 1, 5000, 2)).astype(np.float32)
    np.testing.assert_allclose(fastest.attention(long, long, long, causal=True)[..., -1, :],
                               definitions.attention(long[..., -1:, :], long, long, causal=True)[..., 0, :], atol=1e-5)


@pytest.mark.parametrize(("leading", "heads", "kv_heads", "kv_len"), [((), 4, 2, 1), ((2,), 2, 2, 7), ((3, 2), 6, 1, 5), ((1,), 8, 2, 30)])
def test_a_step_of_one_query_is_the_definition(leading, heads, kv_heads, kv_len, monkeypatch):
    rng = np.random.default_rng(13)
    q, k, v = (rng.standard_normal((*leading, *rest)) for rest in ((heads, 1, 4), (kv_heads, kv_len, 4), (kv_heads, kv_len, 3)))
    calls = []
    monkeypatch.setattr(in_numpy, "one_query", lambda *arrays, real=in_numpy.one_query: calls.append(1) or real(*arrays))
    for scale in (1.0, 1e3):
        np.testing.assert_allclose(fastest.attention(scale * q, k, v, causal=True), definitions.attention(scale * q, k, v), rtol=1e-13, atol=1e-14)
    assert len(calls) == 2
    for options in ({"window": (1, 0)}, {"scale": 0.3}, {"causal": True, "softcap": 2.0}, {"sinks": np.zeros(heads)}, {"mask": np.zeros(kv_len, bool)}):
        np.testing.assert_allclose(fastest.attention(q, k, v, **options), definitions.attention(q, k, v, **options), rtol=1e-13, atol=1e-14)
    assert len(calls) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_step_keeps_what_is_not_finite(bad):
    q, k, v = np.ones((1, 2, 1, 3)), np.ones((1, 1, 5, 3)), np.arange(15.0).reshape(1, 1, 5, 3)
    for where in (slice(2, 3), slice(0, 5)):
        keys = k.copy()
        keys[..., where, :] = bad
        np.testing.assert_array_equal(fastest.attention(q, keys, v), definitions.attention(q, keys, v))
