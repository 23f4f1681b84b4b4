"""Spans, counted positions and dual chunks: the gradients of every argument, and refusals by name."""


import numpy as np
import pytest
from oracle import drawn

from tinyattn import definitions
from tinyattn.engine.check import directional

CALLS = {
    "dynamic_contextual": lambda t: definitions.dynamic_contextual_attention(t["q"], t["k"], t["v"], span=t["span"], ramp=1.5,
                                                                             bias=t["bias"], softcap=2.0, sinks=t["sinks"]),
    "contextual_position": lambda t: definitions.contextual_position_bias(t["q"], t["k"], embedding=t["embedding"]),
    "dual_chunk": lambda t: definitions.dual_chunk_attention(t["q"], t["k"], t["v"], chunk=2, local=1),
    "dual_chunk_merged": lambda t: definitions.dual_chunk_attention_merged(t["q"], t["k"], t["v"], chunk=2, local=1, interleaved=True),
}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_every_argument(name):
    q, k, v, rng = drawn(0, 5, 6)
    tree = {"q": q, "k": k, "v": v, "span": 4 * rng.random(q.shape[:-1]), "bias": rng.standard_normal((4, 5, 6)),
            "sinks": rng.standard_normal(4), "embedding": rng.standard_normal((3, 4))}
    a, b = directional(CALLS[name], tree, rng)
    assert abs(a - b) < 1e-7


@pytest.mark.parametrize(("name", "changes", "error", "words"), [
    ("dynamic_contextual_attention", {"span": np.full((4, 3), -0.1)}, ValueError, "span: expected finite numbers of 0 or more"),
    ("dynamic_contextual_attention", {"span": np.full((4, 3), np.nan)}, ValueError, "span: expected finite"),
    ("dynamic_contextual_attention", {"span": np.inf}, ValueError, "span: expected finite"),
    ("dynamic_contextual_attention", {"span": np.ones((4, 2))}, ValueError, r"span: .*q_len\) = \(2, 4, 3\), got shape \(4, 2\)"),
    ("dynamic_contextual_attention", {"span": np.ones((4, 3), int)}, TypeError, "span: .*int64"),
    ("dynamic_contextual_attention", {"span": [1.0]}, TypeError, "span: .*list"),
    ("dynamic_contextual_attention", {"span": None}, TypeError, "span: .*NoneType"),
    ("dynamic_contextual_attention", {"span": True}, TypeError, "span: .*bool"),
    ("dynamic_contextual_attention", {"ramp": 0.0}, ValueError, "ramp: .*above 0, got 0.0"),
    ("dynamic_contextual_attention", {"ramp": -1}, ValueError, "ramp: .*got -1"),
    ("dynamic_contextual_attention", {"ramp": np.nan}, ValueError, "ramp: .*nan"),
    ("dynamic_contextual_attention", {"ramp": np.ones(1)}, TypeError, "ramp: .*ndarray"),
    ("dynamic_contextual_attention", {"causal": 1}, TypeError, "causal"),
    ("dual_chunk_attention", {"chunk": 0}, ValueError, "chunk: expected 1 or more, got 0"),
    ("dual_chunk_attention", {"chunk": 2.0}, TypeError, "chunk: .*float"),
    ("dual_chunk_attention", {"local": 0}, ValueError, "local: expected 1 or more, got 0"),
    ("dual_chunk_attention", {"clamp": "papr"}, ValueError, "clamp: expected 'paper' or 'code', got 'papr'"),
    ("dual_chunk_attention", {"base": 1.0}, ValueError, "base"), ("dual_chunk_attention", {"base": "1"}, TypeError, "base: .*str"),
    ("dual_chunk_attention", {"positions": np.arange(4)}, ValueError, r"positions: expected shape \(5,\)"),
    ("dual_chunk_attention", {"positions": np.arange(5.0)}, TypeError, "positions: .*float64"),
    ("dual_chunk_attention", {"positions": np.array([0, 1, 1, 2, 3])}, ValueError, "positions: expected each to be larger"),
    ("dual_chunk_attention", {"q": np.ones((2, 4, 6, 4))}, ValueError, "q: expected q_len <= kv_len"),
    ("dual_chunk_attention", {"q": np.ones((2, 4, 3, 3)), "k": np.ones((2, 2, 5, 3))}, ValueError, "q: .*even head_dim"),
])


def test_refused_by_name(name, changes, error, words):
    given = {"q": np.ones((2, 4, 3, 4)), "k": np.ones((2, 2, 5, 4)), "v": np.ones((2, 2, 5, 3)), **changes}
    options = {"span": np.ones((4, 3)), "ramp": 1.0} if name.startswith("dynamic") else {"chunk": 2, "local": 1}
    forms = [name, "dual_chunk_attention_merged"] if name.startswith("dual") else [name]
    for form in forms:
        arrays = [given[n] for n in ("q", "k", "v")]
        rest = {n: x for n, x in given.items() if n not in ("q", "k", "v")}
        with pytest.raises(error, match=words):
            getattr(definitions, form)(*arrays, **{**options, **rest})
