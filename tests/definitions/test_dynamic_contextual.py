"""Spans of attention against loops over pairs, written from their formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import CLOSE, LENGTHS, drawn

from tinyattn import definitions
from tinyattn.engine import grad, vjp
from tinyattn.layers.attention import SelfAttention
from tinyattn.layers.inputs import Input, between
from tinyattn.ops import masks, merge


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


def test_keys_beyond_the_widest_span_and_its_ramp_need_not_be_held():
    q, k, v, rng = drawn(0, 12, 12)
    span, ramp = 3.2 * rng.random(q.shape[:-1]), 1.5
    whole = definitions.dynamic_contextual_attention(q, k, v, span=span, ramp=ramp)
    held = math.ceil(span.max() + ramp)
    for t in range(12):
        s = slice(max(0, t + 1 - held), t + 1)
        last = definitions.dynamic_contextual_attention(q[..., t : t + 1, :], k[..., s, :], v[..., s, :], span=span[..., t : t + 1], ramp=ramp)
        np.testing.assert_allclose(last, whole[..., t : t + 1, :], **CLOSE)


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
