"""Dual chunks against loops over pairs, written from their formula."""

import cmath
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import CLOSE, LENGTHS, drawn

from tinyattn import definitions
from tinyattn.definitions.softmax.dual_chunk import distances

NO_LONGER = [lengths for lengths in LENGTHS if lengths[0] <= lengths[1]]
FORMS = [definitions.dual_chunk_attention, definitions.dual_chunk_attention_merged]
EACH_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


def turned(x, place, base, interleaved):
    """A rotation by complex numbers, one pair at a time."""
    half = len(x) // 2
    out = np.zeros_like(x)
    for n in range(half):
        a, b = (2 * n, 2 * n + 1) if interleaved else (n, n + half)
        turn = complex(x[a], x[b]) * cmath.exp(1j * place * base ** (-n / half))
        out[a], out[b] = turn.real, turn.imag
    return out


def apart(i, j, chunk, most):
    """The three cases of the paper."""
    if i // chunk == j // chunk:
        return i - j
    return (min(i % chunk + chunk, most) if i // chunk == j // chunk + 1 else most) - j % chunk


@EACH_FORM
@given(seed=st.integers(0, 99), lengths=st.sampled_from([*NO_LONGER, (13, 13)]), chunk=st.sampled_from([1, 2, 3, 5, 20]),
       local=st.sampled_from([1, 2, 4]), clamp=st.sampled_from(["paper", "code"]), base=st.sampled_from([10.0, 10000.0]),
       interleaved=st.booleans(), gaps=st.booleans())
def test_dual_chunk(form, seed, lengths, chunk, local, clamp, base, interleaved, gaps):
    q, k, v, rng = drawn(seed, *lengths)
    at = np.cumsum(rng.integers(1, 4, lengths[1])) if gaps else np.arange(lengths[1])
    most = chunk + local - 1 if clamp == "paper" else min(2 * chunk - 1, chunk + local)
    want = np.zeros((*q.shape[:-1], 3))
    for b, h, n in np.ndindex(q.shape[:-1]):
        i, total = int(at[n + lengths[1] - lengths[0]]), 0.0
        for m, j in enumerate(at[: n + lengths[1] - lengths[0] + 1]):
            query = turned(q[b, h, n], apart(i, int(j), chunk, most) + int(j) % chunk, base, interleaved)
            w = math.exp(float(query @ turned(k[b, h // 2, m], int(j) % chunk, base, interleaved)) / 2)
            total += w
            want[b, h, n] += w * v[b, h // 2, m]
        want[b, h, n] /= total
    got = form(q, k, v, chunk=chunk, local=local, clamp=clamp, base=base, interleaved=interleaved, positions=at if gaps else None)
    np.testing.assert_allclose(got, want, **CLOSE)


GOLDEN = "0 | 1 0 | 2 1 0 | 3 2 1 0 | 4 3 2 1 0 | 4 3 2 2 1 0 | 4 3 2 3 2 1 0 | 4 3 2 4 3 2 1 0 | 4 3 2 4 3 2 2 1 0"


@EACH_FORM
def test_golden_distances(form):
    """One frequency, queries (1, 0) and (0, -1), keys (1, 0): scores are the cosine and the sine of the distance."""
    rows = [[int(n) for n in row.split()] for row in GOLDEN.split("|")]
    q, k = np.array([[[1.0, 0.0]] * 9, [[0.0, -1.0]] * 9]), np.array([[[1.0, 0.0]] * 9])
    weights = form(q, k, np.eye(9)[None], chunk=3, local=2, scale=1.0)
    table = distances(np.arange(9)[:, None], np.arange(9), 3, 4)
    for i, want in enumerate(rows):
        cos, sin = (np.log(w[i, : i + 1] / w[i, i]) + own for w, own in zip(weights, (1.0, 0.0), strict=True))
        np.testing.assert_allclose(np.arctan2(sin, cos) % (2 * np.pi), want, rtol=0, atol=1e-14)
        assert table[i, : i + 1].tolist() == want


@pytest.mark.parametrize("clamp", ["paper", "code"])
def test_neighbours_are_told_apart_exactly_and_no_distance_is_large(clamp):
    i, j = np.arange(40)[:, None], np.arange(40)
    for chunk in range(1, 9):
        for local in range(1, chunk + 1):
            most = chunk + local - 1 if clamp == "paper" else min(2 * chunk - 1, chunk + local)
            table, seen = distances(i, j, chunk, most), j <= i
            reach = min(most - chunk + 1, chunk)
            assert reach == (local if clamp == "paper" else min(local + 1, chunk))
            near = seen & (i - j <= reach)
            np.testing.assert_array_equal(table[near], (i - j)[near])
            assert np.any(seen & (i - j == reach + 1) & (table != i - j))  # and no further
            assert 0 <= table[seen].min() <= table[seen].max() <= most
            own = seen & (i // chunk == j // chunk)
            np.testing.assert_array_equal(table[own], (i - j)[own])
            np.testing.assert_array_equal(distances(i + 3 * chunk, j + 3 * chunk, chunk, most), table)


@EACH_FORM
def test_left_padding_moves_the_chunks(form):
    q, k, v, _ = drawn(0, 9, 9)
    options = {"chunk": 3, "local": 2}
    plain = form(q, k, v, **options)
    np.testing.assert_array_equal(form(q, k, v, positions=np.arange(9, dtype=np.uint8) + 6, **options), plain)
    assert np.abs(form(q, k, v, positions=np.arange(9) + 1, **options) - plain).max() > 1e-3
