"""Contextual positions with tables too large for all queries at once: blocks of queries give the definition's results and slopes."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.softmax import counted
from tinyattn.ops import masks

RNG = np.random.default_rng
Q_LEN, KV_LEN = 150, 170
MASK = RNG(5).random((4, Q_LEN, KV_LEN)) < 0.8
OPTIONS = {"causal": {}, "mask": {"mask": MASK, "sinks": np.linspace(-1.0, 1.0, 4)}, "mask of keys": {"mask": MASK[0, :1], "softcap": 2.0},
           "pattern": {"mask": masks.strided(3), "window": (90, None)}, "all keys": {"causal": False}, "window": {"window": (None, 0), "causal": False}}


@pytest.mark.parametrize("positions", [5, 400])
@pytest.mark.parametrize("name", OPTIONS)
def test_blocks_of_queries_are_the_whole(name, positions, monkeypatch):
    monkeypatch.setattr(counted, "TABLES", 1)
    monkeypatch.setattr(counted, "LEAST", 64)
    tree = [RNG(n).standard_normal((2, heads, length, 16)) for n, (heads, length) in enumerate(((4, Q_LEN), (2, KV_LEN), (2, KV_LEN)))]
    tree.append(0.3 * RNG(3).standard_normal((positions, 16)))
    d_out, found = RNG(4).standard_normal(tree[0].shape), []
    for door in (definitions, kernels):
        out, pull = vjp(lambda t, door=door: door.contextual_position_attention(*t[:3], embedding=t[3], **OPTIONS[name]), tree)
        found.append((out, *pull(d_out)))
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())


def test_blocks_end_at_their_own_last_key(monkeypatch):
    monkeypatch.setattr(counted, "TABLES", 1)
    monkeypatch.setattr(counted, "LEAST", 64)
    q, k, v = (RNG(n).standard_normal((1, 150, 16)) for n in range(3))
    want = kernels.contextual_position_attention(q, k, v, embedding=q[0, :9])
    k[:, 64:], v[:, 64:] = np.nan, np.inf
    np.testing.assert_array_equal(kernels.contextual_position_attention(q, k, v, embedding=q[0, :9])[:, :64], want[:, :64])


def test_a_query_may_count_every_key_that_it_sees(monkeypatch):
    monkeypatch.setattr(counted, "TABLES", 1)
    monkeypatch.setattr(counted, "LEAST", 64)
    x, embedding = np.full((1, 150, 16), 10.0), np.arange(200.0)[:, None] * np.ones(16) * 1e-3
    v = RNG(0).standard_normal((1, 150, 16))
    want = definitions.contextual_position_attention(x, x, v, embedding=embedding)
    np.testing.assert_allclose(kernels.contextual_position_attention(x, x, v, embedding=embedding), want, rtol=0, atol=1e-12)
