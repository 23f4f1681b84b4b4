"""Variants of attention against loops over pairs, written from their formulas."""

import math
import tracemalloc

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import drawn

from tinyattn import definitions
from tinyattn.engine.check import directional
from tinyattn.ops.positions.rotary import rotary

CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def lower(q, k):
    seen = np.tril(np.ones((q.shape[-2], k.shape[-2]), bool), k.shape[-2] - q.shape[-2])
    return np.broadcast_to(seen, (*q.shape[:-1], k.shape[-2]))


LENGTHS = [(4, 4), (1, 5), (3, 7), (5, 2), (0, 3)]


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS))
def test_off_by_one(seed, lengths):
    q, k, v, _ = drawn(seed, *lengths)
    out, lse, _ = oracle.attention(q, k, v, seen=lower(q, k))
    want = np.zeros_like(out)
    for index in np.ndindex(out.shape[:-1]):
        if lse[index] > -np.inf:
            want[index] = out[index] * (1 - 1 / (1 + math.exp(lse[index])))
    np.testing.assert_allclose(definitions.softmax_off_by_one_attention(q, k, v, causal=True), want, **CLOSE)
    far = definitions.softmax_off_by_one_attention(q - 100.0, k + 100.0, v, causal=True)
    np.testing.assert_allclose(far, np.zeros_like(far), rtol=0, atol=1e-30)


def normalised(x, weight):
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape[:-1]):
        root = math.sqrt(sum(a * a for a in x[index]) / x.shape[-1] + 1e-6)
        out[index] = [a / root * w for a, w in zip(x[index], weight, strict=True)]
    return out


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS))
def test_qk_norm(seed, lengths):
    q, k, v, rng = drawn(seed, *lengths)
    a, b = 0.5 + rng.random(4), 0.5 + rng.random(4)
    want, _, _ = oracle.attention(normalised(q, a), normalised(k, b), v)
    np.testing.assert_allclose(definitions.qk_norm_attention(q, k, v, q_weight=a, k_weight=b), want, **CLOSE)

    def turn(x):
        return rotary(x, np.arange(x.shape[-2]))

    want, _, _ = oracle.attention(turn(normalised(q, a)), turn(normalised(k, b)), v)
    np.testing.assert_allclose(definitions.qk_norm_attention(q, k, v, q_weight=a, k_weight=b, rotate=turn), want, **CLOSE)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), each=st.booleans())
def test_differential(seed, lengths, each):
    q1, k1, v, rng = drawn(seed, *lengths)
    q2, k2 = rng.standard_normal(q1.shape), rng.standard_normal(k1.shape)
    lam = rng.random(4) if each else 0.3
    first, _, _ = oracle.attention(q1, k1, v, seen=lower(q1, k1))
    second, _, _ = oracle.attention(q2, k2, v, seen=lower(q1, k1))
    want = np.stack([first[:, h] - (lam[h] if each else lam) * second[:, h] for h in range(4)], axis=1)
    np.testing.assert_allclose(definitions.differential_attention(q1, k1, q2, k2, v, lambda_=lam, causal=True), want, **CLOSE)


@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), channels=st.booleans())
def test_gated(seed, lengths, channels):
    q, k, v, rng = drawn(seed, *lengths)
    gate = rng.standard_normal((*q.shape[:-1], 3) if channels else q.shape[:-1])
    out, _, _ = oracle.attention(q, k, v)
    want = out / (1 + np.exp(-(gate if channels else gate[..., None])))
    np.testing.assert_allclose(definitions.gated_attention(q, k, v, gate=gate), want, **CLOSE)


@pytest.mark.parametrize("mode", ["sliding", "block", "look_back"])
@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), causal=st.booleans(), each=st.booleans())
def test_local(mode, seed, lengths, causal, each):
    q, k, v, rng = drawn(seed, *lengths)
    windows = [int(w) for w in rng.integers(1, 5, 4)] if each else [3] * 4
    seen = np.zeros((*q.shape[:-1], k.shape[-2]), bool)
    for _, h, i, j in np.ndindex(seen.shape):
        p, w = i + k.shape[-2] - q.shape[-2], windows[h]
        near = {"sliding": abs(p - j) < w, "block": p // w == j // w, "look_back": p // w - j // w in (0, 1)}[mode]
        seen[:, h, i, j] = near and (j <= p or not causal)
    want, _, _ = oracle.attention(q, k, v, seen=seen)
    got = definitions.multi_head_local_attention(q, k, v, window=windows if each else 3, mode=mode, causal=causal)
    np.testing.assert_allclose(got, want, **CLOSE)


LATENT = [definitions.latent_attention_expanded, definitions.latent_attention_absorbed]


def latents(seed, q_len, kv_len, rope=2):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((2, 3, q_len, 4)), rng.standard_normal((2, 3, q_len, rope)), rng.standard_normal((2, kv_len, 5)),
            rng.standard_normal((2, kv_len, rope)), rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 5, 6)))


@pytest.mark.parametrize("form", LATENT, ids=lambda form: form.__name__)
@given(seed=st.integers(0, 99), lengths=st.sampled_from(LENGTHS), rope=st.sampled_from([0, 2]))
def test_latent(form, seed, lengths, rope):
    q_nope, q_rope, c, k_rope, w_uk, w_uv = latents(seed, *lengths, rope)
    k, v = np.zeros((2, 3, lengths[1], 4 + rope)), np.zeros((2, 3, lengths[1], 6))
    for b, h, j in np.ndindex(2, 3, lengths[1]):
        k[b, h, j, :4] = sum(c[b, j, r] * w_uk[h, r] for r in range(5))
        k[b, h, j, 4:] = k_rope[b, j]
        v[b, h, j] = sum(c[b, j, r] * w_uv[h, r] for r in range(5))
    q = np.concatenate((q_nope, q_rope), axis=-1)
    want, _, _ = oracle.attention(q, k, v, seen=lower(q, k))
    np.testing.assert_allclose(form(q_nope, q_rope, c, k_rope, w_uk=w_uk, w_uv=w_uv, causal=True), want, **CLOSE)


def test_absorbed_materialises_nothing_a_head():
    c = np.zeros((1, 4000, 64))
    sizes = {}
    for form in LATENT:
        tracemalloc.start()
        form(np.zeros((1, 32, 1, 64)), np.zeros((1, 32, 1, 2)), c, np.zeros((1, 4000, 2)), w_uk=np.zeros((32, 64, 64)),
             w_uv=np.zeros((32, 64, 64)))
        sizes[form.__name__] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sizes["latent_attention_absorbed"] < 8 * c.nbytes < 32 * c.nbytes < sizes["latent_attention_expanded"]


CALLS = {
    "off_by_one": lambda t: definitions.softmax_off_by_one_attention(t["q"], t["k"], t["v"], causal=True),
    "qk_norm": lambda t: definitions.qk_norm_attention(t["q"], t["k"], t["v"], q_weight=t["a"], k_weight=t["b"]),
    "differential": lambda t: definitions.differential_attention(t["q"], t["k"], t["q2"], t["k2"], t["v"], lambda_=t["lam"]),
    "gated": lambda t: definitions.gated_attention(t["q"], t["k"], t["v"], gate=t["gate"]),
    "local": lambda t: definitions.multi_head_local_attention(t["q"], t["k"], t["v"], window=[1, 2, 3, 4], mode="look_back"),
}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_every_argument(name):
    q, k, v, rng = drawn(0, 4, 5)
    tree = {"q": q, "k": k, "v": v, "a": rng.random(4) + 0.5, "b": rng.random(4) + 0.5, "q2": rng.standard_normal(q.shape),
            "k2": rng.standard_normal(k.shape), "lam": rng.random(4), "gate": rng.standard_normal(q.shape[:-1])}
    a, b = directional(CALLS[name], tree, rng)
    assert abs(a - b) < 1e-7


@pytest.mark.parametrize("form", LATENT, ids=lambda form: form.__name__)
def test_gradients_of_latents(form):
    a, b = directional(lambda t: form(*t[:4], w_uk=t[4], w_uv=t[5], causal=True), latents(0, 4, 5), np.random.default_rng(0))
    assert abs(a - b) < 1e-6


@pytest.mark.parametrize("form", LATENT, ids=lambda form: form.__name__)
def test_latents_are_refused_by_name(form):
    q_nope, q_rope, c, k_rope, w_uk, w_uv = latents(0, 2, 3)
    good = {"w_uk": w_uk, "w_uv": w_uv}
    for arrays, options, error, words in (
            ((q_nope, q_rope[:, :2], c, k_rope), good, ValueError, "q_rope: expected the heads"),
            ((q_nope, q_rope, c[:1], k_rope), good, ValueError, "latent: expected the leading axes"),
            ((q_nope, q_rope, c, k_rope[..., :1]), good, ValueError, "k_rope: expected p = 2"),
            ((q_nope, q_rope, c, k_rope), good | {"w_uk": w_uk[:2]}, ValueError, r"w_uk: expected shape \(3, 5, 4\)"),
            ((q_nope, q_rope, c, k_rope), good | {"w_uv": w_uv.tolist()}, TypeError, "w_uv"),
            ((q_nope, q_rope, c, k_rope.astype(np.float32)), good, TypeError, "k_rope: expected the dtype")):
        with pytest.raises(error, match=words):
            form(*arrays, **options)
