"""Projections and landmarks against loops over pairs, written from their formulas."""

import math

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import CLOSE, drawn

from tinyattn import definitions
from tinyattn.engine.check import directional


@given(seed=st.integers(0, 99), lengths=st.sampled_from([(4, 4), (1, 5), (5, 2), (0, 3), (3, 0)]), rank=st.sampled_from([1, 2, 7]),
       each=st.booleans(), scale=st.sampled_from([None, 2.0]))
def test_linformer(seed, lengths, rank, each, scale):
    q, k, v, rng = drawn(seed, *lengths)
    shape = (2, rank, lengths[1]) if each else (rank, lengths[1])
    e, f = rng.standard_normal(shape), rng.standard_normal(shape)
    few_k, few_v = np.zeros((2, 2, rank, 4)), np.zeros((2, 2, rank, 3))
    for b, g, r, j in np.ndindex(2, 2, rank, lengths[1]):
        few_k[b, g, r] += (e[g] if each else e)[r, j] * k[b, g, j]
        few_v[b, g, r] += (f[g] if each else f)[r, j] * v[b, g, j]
    want, _, _ = oracle.attention(q, few_k, few_v, scale=scale)
    np.testing.assert_allclose(definitions.linformer_attention(q, k, v, project_k=e, project_v=f, scale=scale), want, **CLOSE)


def softmax(rows):
    out = []
    for row in rows:
        exps = [math.exp(s - max(row)) for s in row]
        out.append([x / sum(exps) for x in exps])
    return out


def times(a, b):
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def less(number, a):
    """Number times the identity, minus a."""
    return [[(number if i == j else 0.0) - x for j, x in enumerate(row)] for i, row in enumerate(a)]


@given(seed=st.integers(0, 99), sizes=st.sampled_from([(4, 4, 2), (6, 3, 3), (3, 6, 1), (4, 8, 4)]), iterations=st.sampled_from([0, 1, 6]))
def test_nystrom(seed, sizes, iterations):
    q_len, kv_len, count = sizes
    q, k, v, _ = drawn(seed, q_len, kv_len)
    want = np.zeros((2, 4, q_len, 3))
    for b, h in np.ndindex(2, 4):
        few_q = [q[b, h, c * q_len // count : (c + 1) * q_len // count].mean(axis=0) for c in range(count)]
        few_k = [k[b, h // 2, c * kv_len // count : (c + 1) * kv_len // count].mean(axis=0) for c in range(count)]
        first, middle, last = (softmax([[float(x @ y) / 2 for y in right] for x in left])
                               for left, right in ((q[b, h], few_k), (few_q, few_k), (few_q, k[b, h // 2])))
        most = max(sum(row[c] for row in middle) for c in range(count)) * max(sum(row) for row in middle)
        z = [[middle[j][i] / most for j in range(count)] for i in range(count)]
        for _ in range(iterations):
            az = times(middle, z)
            z = [[x / 4 for x in row] for row in times(z, less(13, times(az, less(15, times(az, less(7, az))))))]
        want[b, h] = times(times(times(first, z), last), v[b, h // 2])
    np.testing.assert_allclose(definitions.nystrom_attention(q, k, v, landmarks=count, iterations=iterations), want, rtol=1e-12, atol=1e-13)


def test_landmarks_approach_attention_as_the_inverse_is_found():
    _, k, v, _ = drawn(0, 6, 6)
    q = 2 * np.repeat(k, 2, axis=1)  # every query finds its own key: the matrix is far from singular
    whole = definitions.attention(q, k, v)
    errors = [np.abs(definitions.nystrom_attention(q, k, v, landmarks=6, iterations=n) - whole).max() for n in (0, 3, 6, 9)]
    assert all(b < 0.5 * a for a, b in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 1e-9


def test_neither_can_be_causal():
    q, k, v, rng = drawn(0, 6, 6)
    other = v.copy()
    other[..., -1, :] += 1.0
    e = rng.random((3, 6))
    for read in (lambda x: definitions.linformer_attention(q, k, x, project_k=e, project_v=e),
                 lambda x: definitions.nystrom_attention(q, k, x, landmarks=3)):
        assert np.all(read(v)[..., 0, :] != read(other)[..., 0, :])


CALLS = {
    "linformer": lambda t: definitions.linformer_attention(t["q"], t["k"], t["v"], project_k=t["e"], project_v=t["f"]),
    "nystrom": lambda t: definitions.nystrom_attention(t["q"], t["k"], t["v"], landmarks=2),
}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_every_argument(name):
    q, k, v, rng = drawn(0, 4, 6)
    a, b = directional(CALLS[name], {"q": q, "k": k, "v": v, "e": rng.random((3, 6)), "f": rng.random((2, 3, 6))}, rng)
    assert abs(a - b) < 1e-6


@pytest.mark.parametrize(("name", "changes", "error", "words"), [
    ("linformer", {"project_k": np.ones((2, 4))}, ValueError, r"project_k: expected shape \(rank, 5\) or \(2, rank, 5\), got shape \(2, 4\)"),
    ("linformer", {"project_k": np.ones(5)}, ValueError, r"project_k: .*\(5,\)"),
    ("linformer", {"project_v": np.ones((3, 2, 5))}, ValueError, r"project_v: .*\(3, 2, 5\)"),
    ("linformer", {"project_v": np.ones((3, 5))}, ValueError, r"project_v: expected the rank of project_k \(2, 5\), got shape \(3, 5\)"),
    ("linformer", {"project_k": [[1.0]]}, TypeError, "project_k: .*list"), ("linformer", {"project_k": np.ones((2, 5), int)}, TypeError, "project_k"),
    ("linformer", {"causal": True}, TypeError, "causal"), ("linformer", {"scale": np.nan}, ValueError, "scale"),
    ("nystrom", {"landmarks": 2}, ValueError, r"landmarks: expected a divisor of the length 3 of q \(2, 4, 3, 4\), got 2"),
    ("nystrom", {"landmarks": 3}, ValueError, r"landmarks: expected a divisor of the length 5 of k"),
    ("nystrom", {"landmarks": 0}, ValueError, "landmarks: expected 1 or more"), ("nystrom", {"landmarks": 1.0}, TypeError, "landmarks: .*float"),
    ("nystrom", {"iterations": -1}, ValueError, "iterations: expected 0 or more, got -1"), ("nystrom", {"causal": True}, TypeError, "causal"),
])
def test_refused_by_name(name, changes, error, words):
    options = {"project_k": np.ones((2, 5)), "project_v": np.ones((2, 5))} if name == "linformer" else {"landmarks": 1}
    with pytest.raises(error, match=words):
        getattr(definitions, f"{name}_attention")(np.ones((2, 4, 3, 4)), np.ones((2, 2, 5, 4)), np.ones((2, 2, 5, 3)), **{**options, **changes})
