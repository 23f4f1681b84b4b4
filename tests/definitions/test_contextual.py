"""Spans, counted positions and dual chunks against loops over pairs, written from their formulas."""

import cmath
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import definitions
from tinyattn.definitions.softmax.dual_chunk import distances
from tinyattn.engine import grad, vjp
from tinyattn.engine.check import directional
from tinyattn.layers.attention import SelfAttention
from tinyattn.layers.inputs import Input, between
from tinyattn.ops import masks, merge

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)
drawn = oracle.drawn
CLOSE = {"rtol": 1e-11, "atol": 1e-12}
LENGTHS = [(4, 4), (1, 5), (3, 9), (9, 9), (0, 3), (5, 2)]
NO_LONGER = [lengths for lengths in LENGTHS if lengths[0] <= lengths[1]]
FORMS = [definitions.dual_chunk_attention, definitions.dual_chunk_attention_merged]
EACH_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


def ramped(distance, span, ramp):
    return min(max((ramp + span - distance) / ramp, 0.0), 1.0)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), ramp=st.sampled_from([0.3, 1, 2.5, 20.0]), causal=st.booleans(),
       shape=st.sampled_from(["each", "a head", "a query", "all"]), softcap=st.sampled_from([None, 0.8]), more=st.booleans())
def test_dynamic_contextual(seed, lengths, ramp, causal, shape, softcap, more):
    q, k, v, rng = drawn(seed, *lengths)
    span = {"each": lambda: 6 * rng.random(q.shape[:-1]), "a head": lambda: 6 * rng.random((4, 1)),
            "a query": lambda: 6 * rng.random(lengths[0]), "all": lambda: 6 * rng.random()}[shape]()
    spans = np.broadcast_to(span, q.shape[:-1])
    mask, bias, sinks = rng.random((*q.shape[:-1], lengths[1])) < 0.7, rng.standard_normal((4, *lengths)), rng.standard_normal(4)
    want = np.zeros((*q.shape[:-1], 3))
    for b, h, i in np.ndindex(q.shape[:-1]):
        p, total = i + lengths[1] - lengths[0], math.exp(sinks[h]) if more else 0.0
        for j in range(lengths[1]):
            if (causal and j > p) or (more and not (mask[b, h, i, j] and p - j <= 3)):
                continue
            s = 0.5 * sum(float(x) * float(y) for x, y in zip(q[b, h, i], k[b, h // 2, j], strict=True))
            s = s if softcap is None else softcap * math.tanh(s / softcap)
            w = ramped(abs(p - j), spans[b, h, i], ramp) * math.exp(s + (bias[h, i, j] if more else 0.0))
            total += w
            want[b, h, i] += w * v[b, h // 2, j]
        want[b, h, i] /= total or 1.0
    others = {"mask": mask, "bias": bias, "sinks": sinks, "window": (3, None)} if more else {}
    got = definitions.dynamic_contextual_attention(q, k, v, span=span, ramp=ramp, causal=causal, softcap=softcap, **others)
    np.testing.assert_allclose(got, want, **CLOSE)


def test_a_golden_span():
    weights = definitions.dynamic_contextual_attention(np.zeros((6, 2)), np.zeros((6, 2)), np.eye(6), span=np.full(6, 1.5), ramp=2.0)
    np.testing.assert_array_equal(weights[-1] * 3.0, [0, 0, 0.25, 0.75, 1, 1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize(("q_len", "causal"), [(9, True), (4, True), (9, False)])
def test_limits_of_a_span_are_bits(dtype, q_len, causal):
    q, k, v = (x.astype(dtype) for x in drawn(0, q_len, 9)[:3])

    def spanned(span, ramp, **options):
        return definitions.dynamic_contextual_attention(q, k, v, span=np.full(q.shape[:-1], span), ramp=ramp, causal=causal, **options)

    whole = definitions.attention(q, k, v, causal=causal)
    for span, ramp in ((8.0, 0.3), (8.0, 1e-3), (8.1, 7.0), (1e6, 1.0), (0.0, 1e30)):
        np.testing.assert_array_equal(spanned(span, ramp), whole)
    for width in (1, 3, 7):
        window = (width - 1, 0 if causal else width - 1)
        for ramp in (1.0, 0.3, 1e-3):
            np.testing.assert_array_equal(spanned(width - 1.0, ramp), definitions.attention(q, k, v, causal=causal, window=window))
    narrow = {"window": (1, 0), "mask": masks.strided(2) | masks.first(1)}
    np.testing.assert_array_equal(spanned(8.0, 1.0, **narrow), definitions.attention(q, k, v, causal=causal, **narrow))


def test_a_wide_ramp_is_attention_at_the_rate_of_its_width():
    q, k, v, _ = drawn(0, 9, 9)
    whole = definitions.attention(q, k, v, causal=True)
    errors = [np.abs(definitions.dynamic_contextual_attention(q, k, v, span=0.5, ramp=ramp) - whole).max() for ramp in (1e3, 2e3, 4e3)]
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2.0, rtol=0.02)
    assert errors[0] < 10 / 1e3


def test_more_span_puts_more_weight_far_away():
    q, k, _, _ = drawn(0, 9, 9)
    far = np.tril(np.ones((9, 9)), -4)
    masses = [np.sum(definitions.dynamic_contextual_attention(q, k, np.broadcast_to(np.eye(9), (2, 2, 9, 9)), span=span, ramp=2.5) * far,
                     axis=-1) for span in (0.0, 1.7, 3.2, 6.6)]
    assert all(np.all(b >= a) for a, b in zip(masses, masses[1:], strict=False))
    assert np.all(masses[-1][..., 5:] > masses[0][..., 5:])


def test_the_slope_of_a_span_is_its_formula():
    q, k, v, rng = drawn(3, 5, 7, groups=1)
    span, ramp = 5 * rng.random(q.shape[:-1]), 2.5
    d_out = rng.standard_normal((*q.shape[:-1], 3))
    out, pullback = vjp(lambda z: definitions.dynamic_contextual_attention(q, k, v, span=z, ramp=ramp), span)
    want = np.zeros_like(span)
    for b, h, i in np.ndindex(span.shape):
        p = i + 2
        m = [ramped(p - j, span[b, h, i], ramp) for j in range(p + 1)]
        exps = [math.exp(float(q[b, h, i] @ k[b, h, j]) / 2) for j in range(p + 1)]
        total = sum(a * x for a, x in zip(m, exps, strict=True))
        delta = float(d_out[b, h, i] @ out[b, h, i])
        want[b, h, i] = sum(x / total * (float(d_out[b, h, i] @ v[b, h, j]) - delta)
                            for j, x in enumerate(exps) if 0 < m[j] < 1) / ramp
    np.testing.assert_allclose(pullback(d_out), want, **CLOSE)
    assert np.count_nonzero(want) > 10


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_slopes_are_finite_where_a_weight_ends(dtype):
    q, k, v = np.ones((1, 1), dtype), np.array([[10.0], [0.0]], dtype), np.array([[5.0], [1.0]], dtype)

    def read(z):
        return definitions.dynamic_contextual_attention(q, k, v, span=z, ramp=1.0)[0, 0]

    last = float(np.nextafter(dtype(1), dtype(0)))  # the first key is `1 - last` inside the ramp
    for span, sign in ((1.0, 0.0), (0.0, 0.0), (0.5, 1.0), (1.0 - last, 1.0)):
        slope = grad(read)(np.array([span], dtype))[0]
        assert np.isfinite(slope)
        assert np.sign(slope) == sign
    # A far key with a large score pulls a span open before it weighs anything: the values are 4 apart, and the slope is 4 exp(10).
    np.testing.assert_allclose(grad(read)(np.array([1.0 - last], dtype))[0], 4 * math.exp(10.0), rtol=0.01)


def test_the_published_code_and_a_merge_give_the_same():
    q, k, v, rng = drawn(0, 6, 8, groups=1)
    span, ramp = 4 * rng.random((*q.shape[:-1], 1)), 3.0
    m = np.clip((ramp + span - (np.arange(2, 8)[:, None] - np.arange(8))) / ramp, 0, 1)
    want = definitions.dynamic_contextual_attention(q, k, v, span=span[..., 0], ramp=ramp)
    kept = definitions.attention_weights(q, k, causal=True) * m
    np.testing.assert_allclose(kept @ v / (kept.sum(axis=-1, keepdims=True) + 1e-8), want, rtol=0, atol=1e-6)
    bias = np.log(np.where(m > 0, m, 1.0))
    parts = [definitions.attention_with_lse(q, k, v, causal=True, mask=(m > 0) & (np.arange(8) % 2 == n), bias=bias) for n in (0, 1)]
    np.testing.assert_allclose(merge(*parts)[0], want, **CLOSE)


def test_a_layer_computes_spans_from_its_tokens():
    given = Input("span", "heads", between(2.0, 50.0), 6.0)
    layer = SelfAttention.create(np.random.default_rng(0), 8, 4, 2, mechanism=definitions.dynamic_contextual_attention, inputs=(given,))
    x = np.random.default_rng(1).standard_normal((3, 5, 8))
    span = layer.inputs[0]
    want = 2.0 + 48.0 / (1.0 + np.exp(-(x @ span.weight.astype(float) + 6.0)))
    np.testing.assert_allclose(span(x), np.swapaxes(want, -1, -2), rtol=1e-12)
    assert span(x).min() > 49.0
    whole = SelfAttention.create(np.random.default_rng(0), 8, 4, 2, mechanism=definitions.attention)
    np.testing.assert_array_equal(layer(x, ramp=1.0), whole(x, causal=True))
    assert between(2.0, 50.0)(np.array([-1e3, 1e3])).tolist() == [2.0, 50.0]


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), positions=st.sampled_from([1, 2, 3, 20]), causal=st.booleans(),
       scale=st.sampled_from([None, 3.0]), more=st.booleans())
def test_contextual_positions(seed, lengths, positions, causal, scale, more):
    q, k, _, rng = drawn(seed, *lengths)
    embedding, mask = rng.standard_normal((positions, 4)), rng.random((*q.shape[:-1], lengths[1])) < 0.7
    want, sees = np.zeros((*q.shape[:-1], lengths[1])), np.zeros(q.shape[:-1], bool)
    for b, h, i in np.ndindex(q.shape[:-1]):
        p, count = i + lengths[1] - lengths[0], 0.0
        for j in reversed(range(lengths[1])):
            seen = (j <= p or not causal) and ((mask[b, h, i, j] and p - j <= 3) or not more)
            s = (scale or 0.5) * sum(float(x) * float(y) for x, y in zip(q[b, h, i], k[b, h // 2, j], strict=True))
            count += 1 / (1 + math.exp(-s)) if seen else 0.0
            sees[b, h, i] |= seen
            place = min(count, positions - 1)
            low, high = math.floor(place), math.ceil(place)
            at = [sum(float(x) * float(y) for x, y in zip(q[b, h, i], embedding[n], strict=True)) for n in (low, high)]
            want[b, h, i, j] = at[1] * (place - low) + at[0] * (1 - place + low)
    others = {"mask": mask, "window": (3, None)} if more else {}
    got = definitions.contextual_position_bias(q, k, embedding=embedding, causal=causal, scale=scale, **others)
    np.testing.assert_allclose(got[sees], want[sees], **CLOSE)  # a query that sees nothing has no scores to add to


def counts(q, k, **options):
    """The positions themselves: read off embeddings n e_0 by queries that begin with 1."""
    table = np.zeros((99, q.shape[-1]))
    table[:, 0] = np.arange(99)
    return definitions.contextual_position_bias(q, k, embedding=table, **options)


def test_counts_fall_by_at_most_one_a_key():
    q, k, _, _ = drawn(0, 6, 9)
    q[..., 0] = 1.0
    seen = counts(q, k)
    fall = seen[..., :-1] - seen[..., 1:]
    assert np.all((fall >= -1e-12) & (fall <= 1 + 1e-12))
    assert np.all(seen[..., 0, 4:] == 0.0)  # of what is still to come nothing is counted
    q[..., 1:] = 0.0
    k[..., 0] = 200.0
    np.testing.assert_array_equal(counts(q, k)[0, 0, -1], np.arange(9, 0, -1))
    np.testing.assert_array_equal(counts(q, -k), 0.0)


def test_without_its_mask_a_gate_counts_the_future():
    q, k, v, rng = drawn(0, 8, 8)
    embedding, other = rng.standard_normal((5, 4)), k.copy()
    other[..., 5:, :] += 1.0
    for counted_causally in (True, False):
        a, b = (definitions.attention(q, x, v, causal=True, bias=definitions.contextual_position_bias(
            q, x, embedding=embedding, causal=counted_causally))[..., :5, :] for x in (k, other))
        assert np.array_equal(a, b) == counted_causally


def test_a_slot_that_nobody_counts_may_hold_anything():
    q, k, _, rng = drawn(0, 4, 6)
    mask, embedding = np.arange(6) < 4, rng.standard_normal((3, 4))
    poisoned = np.where(mask[:, None], k, np.nan)
    for keys in (k, poisoned):
        got = vjp(lambda t: definitions.contextual_position_bias(*t, embedding=embedding, causal=False, mask=mask), (q, keys))
        gradients = got[1](np.ones((2, 4, 4, 6)))
        assert all(np.isfinite(g).all() for g in (got[0], *gradients))
    np.testing.assert_array_equal(got[0], definitions.contextual_position_bias(q, k, embedding=embedding, causal=False, mask=mask))


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
        np.testing.assert_allclose(np.arctan2(sin, cos) % (2 * np.pi), want, atol=1e-12)
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


@pytest.mark.parametrize(("embedding", "error", "words"), [
    (np.ones((0, 4)), ValueError, r"embedding: expected shape \(positions, 4\), got shape \(0, 4\)"),
    (np.ones((3, 5)), ValueError, r"embedding: .*\(3, 5\)"), (np.ones(4), ValueError, "embedding"),
    ([[1.0]], TypeError, "embedding: .*list"), (np.ones((3, 4), int), TypeError, "embedding: .*int64")])
def test_embeddings_are_refused_by_name(embedding, error, words):
    with pytest.raises(error, match=words):
        definitions.contextual_position_bias(np.ones((4, 3, 4)), np.ones((2, 5, 4)), embedding=embedding)
