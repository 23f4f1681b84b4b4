"""Softmax attention in all its forms against a loop over positions, forward and backward."""

from functools import partial

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from softmax_forms import EPS, FORMS

from tinyattn import definitions, ops
from tinyattn.engine import grad
from tinyattn.engine.check import directional
from tinyattn.ops import masks


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2 ** 32)))
    batch, kv_heads, groups = draw(st.sampled_from([0, 1, 2, 4])), draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    q_len, kv_len = draw(st.sampled_from([0, 1, 2, 4, 5])), draw(st.sampled_from([0, 1, 2, 4, 7]))
    head_dim, value_dim = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([0, 1, 3]))
    heads = kv_heads * groups
    q = rng.standard_normal((batch, heads, q_len, head_dim)) * draw(st.sampled_from([0.1, 1.0, 6.0]))
    k, v = rng.standard_normal((batch, kv_heads, kv_len, head_dim)), rng.standard_normal((batch, kv_heads, kv_len, value_dim))
    full = (batch, heads, q_len, kv_len)
    seen, options, terms = np.ones(full, bool), {}, {}
    position, key = np.arange(q_len)[:, None] + kv_len - q_len, np.arange(kv_len)
    if draw(st.booleans()):
        options["causal"] = True
        seen &= key <= position
    if draw(st.booleans()):
        left, right = draw(st.sampled_from([(0, 0), (1, None), (None, 1), (2, 0), (9, 9)]))
        options["window"] = (left, right)
        seen &= (left is None or key >= position - left) & (right is None or key <= position + right)
    kind = draw(st.sampled_from(["none", "array", "head", "row", "pattern", "batch pattern"]))
    if kind in ("array", "head", "row"):
        shape = {"array": full, "head": (heads, 1, kv_len), "row": (q_len, kv_len)}[kind]
        options["mask"] = rng.random(shape) < 0.6
        seen &= options["mask"]
    elif kind == "pattern":
        options["mask"] = masks.strided(2) | masks.first(1)
        seen &= ((position >= key) & ((position - key) % 2 == 0)) | (key < 1)
    elif kind == "batch pattern" and batch:
        lengths = rng.integers(0, kv_len + 1, batch)
        options["mask"] = masks.padding(lengths)
        seen &= key < lengths[:, None, None, None]
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.0, 0.3, -1.0]))
        terms["scale"] = options["scale"]
    if draw(st.booleans()):
        options["softcap"] = terms["softcap"] = 1.5
    bias = draw(st.sampled_from(["none", "array", "row", "alibi", "relative"]))
    if bias == "array":
        options["bias"] = rng.standard_normal((heads, q_len, kv_len))
        terms["bias"] = np.broadcast_to(options["bias"], full)
    elif bias == "row":
        options["bias"] = np.where(rng.random(kv_len) < 0.3, -np.inf, rng.standard_normal(kv_len))
        terms["bias"] = np.broadcast_to(options["bias"], full)
        seen &= np.isfinite(options["bias"])
    elif bias == "alibi":
        slopes = ops.alibi_slopes(heads)
        options["bias"] = ops.alibi(slopes)
        terms["bias"] = np.broadcast_to(-slopes[:, None, None] * np.abs(position - key), full)
    elif bias == "relative":
        table = rng.standard_normal((8, heads))
        options["bias"] = ops.relative(table, partial(ops.t5_buckets, buckets=8, max_distance=9, causal=False))
        terms["bias"] = np.broadcast_to(np.moveaxis(table[ops.t5_buckets(key - position, buckets=8, max_distance=9, causal=False)],
                                                    -1, 0), full)
    if draw(st.booleans()):
        options["sinks"] = terms["sinks"] = rng.standard_normal(heads)
    return q, k, v, options, seen, terms


@given(problem=problems())
def test_every_form_is_the_loop(problem):
    q, k, v, options, seen, terms = problem
    want, lse, weights = oracle.attention(q, k, v, seen=seen, **terms)
    allowed = 400 * EPS  # tens of terms of size up to 20, each right to a few eps
    for name, form in FORMS.items():
        np.testing.assert_allclose(form(q, k, v, **options), want, rtol=0, atol=allowed, err_msg=name)
    if k.shape[1] == 1:
        np.testing.assert_allclose(definitions.multi_query_attention(q, k, v, **options), want, rtol=0, atol=allowed)
    repeated = np.repeat(k, q.shape[1] // k.shape[1], 1), np.repeat(v, q.shape[1] // k.shape[1], 1)
    np.testing.assert_allclose(definitions.multi_head_attention(q, *repeated, **options), want, rtol=0, atol=allowed)
    np.testing.assert_allclose(definitions.attention_weights(q, k, **options), weights, rtol=0, atol=allowed)
    np.testing.assert_allclose(definitions.attention_with_lse(q, k, v, **options)[1], lse, rtol=1e-13, atol=allowed)


ALL = {"causal": True, "window": (3, 0), "softcap": 2.0, "scale": 0.7, "mask": np.random.default_rng(1).random((4, 1, 5)) < 0.8}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("options", [{}, {"causal": True}, ALL], ids=["plain", "causal", "all"])
def test_gradients(name, options):
    rng = np.random.default_rng(5)
    x = {"q": rng.standard_normal((2, 4, 3, 3)), "k": rng.standard_normal((2, 2, 5, 3)), "v": rng.standard_normal((2, 2, 5, 2)),
         "bias": rng.standard_normal((4, 3, 1)), "sinks": rng.standard_normal(4)}

    def f(t):
        extra = {"bias": t["bias"], "sinks": t["sinks"]} if len(options) > 1 else {}
        return FORMS[name](t["q"], t["k"], t["v"], **options, **extra)

    analytic, numeric = directional(f, x, rng)
    assert abs(analytic - numeric) < 1e-7


def test_gradient_of_the_lse_and_of_a_table():
    rng = np.random.default_rng(6)
    x = {"q": rng.standard_normal((2, 4, 3)), "k": rng.standard_normal((2, 5, 3)), "sinks": rng.standard_normal(2),
         "table": rng.standard_normal((32, 2))}

    def f(t):
        bias = ops.relative(t["table"], partial(ops.t5_buckets, causal=True))
        return definitions.attention_with_lse(t["q"], t["k"], t["k"], sinks=t["sinks"], bias=bias, causal=True)[1]

    analytic, numeric = directional(f, x, rng)
    assert abs(analytic - numeric) < 1e-7
    second = directional(lambda q: grad(lambda p: (definitions.attention(p, x["k"], x["k"]) ** 2).sum())(q), x["q"], rng)
    assert abs(second[0] - second[1]) < 1e-6


def test_by_hand():
    q, k, v = np.zeros((1, 1)), np.zeros((3, 1)), np.array([[3.0], [6.0], [9.0]])
    assert definitions.attention(q, k, v) == 6.0
    assert definitions.attention(q, k, v, window=(1, 0)) == 7.5
    assert definitions.attention(q, k, v, sinks=np.zeros(1)) == 4.5
    weights = definitions.attention_weights(np.ones((1, 1)), np.array([[0.0], [1.0], [2.0]]), sinks=np.array([0.5]), scale=1.0)
    np.testing.assert_allclose(weights[0], [0.078394, 0.213097, 0.579259], atol=5e-7)
    scores = np.array([[0.0], [1.0], [2.0], [5.0]])
    capped = definitions.attention_with_lse(np.ones((1, 1)), scores[3:], scores[3:], softcap=2.0, scale=1.0)[1]
    assert abs(capped[0] - 1.973229) < 1e-6


@pytest.mark.parametrize("name", sorted(set(FORMS) - {"weights"}))  # which multiplies by v itself
def test_what_no_query_sees_may_hold_anything(name):
    rng = np.random.default_rng(7)
    q, k, v = rng.standard_normal((2, 4, 3, 2)), rng.standard_normal((2, 2, 6, 2)), rng.standard_normal((2, 2, 6, 2))
    seen = rng.random((2, 4, 3, 6)) < 0.7
    seen[:, :2, :, 4] = seen[1, 2:, :, 0] = False  # unseen by every head of a kv head
    seen[0, 0, 1] = False  # a query that sees nothing
    options = {"mask": seen, "causal": True} if name != "fastest" else {"mask": seen}
    loss = lambda t: (FORMS[name](*t, **options) ** 2).sum()
    clean_out, clean_grad = FORMS[name](q, k, v, **options), grad(loss)((q, k, v))
    for poison in (np.nan, np.inf, -np.inf):
        p, a, b = q.copy(), k.copy(), v.copy()
        p[0, 0, 1] = a[:, 0, 4] = b[:, 0, 4] = a[1, 1, 0] = b[1, 1, 0] = poison
        np.testing.assert_array_equal(FORMS[name](p, a, b, **options), clean_out)
        for g, clean in zip(grad(loss)((p, a, b)), clean_grad, strict=True):
            np.testing.assert_array_equal(g, clean)
    assert (clean_out[0, 0, 1] == 0.0).all()


def test_a_nan_query_stays_in_its_row():
    rng = np.random.default_rng(8)
    q, k, v = rng.standard_normal((2, 3, 2)), rng.standard_normal((1, 4, 2)), rng.standard_normal((1, 4, 2))
    clean = definitions.attention(q, k, v, causal=True)
    q[1, 2] = np.nan
    out = definitions.attention(q, k, v, causal=True)
    assert np.isnan(out[1, 2]).all()
    np.testing.assert_array_equal(out[0], clean[0])
    np.testing.assert_array_equal(out[1, :2], clean[1, :2])


@pytest.mark.parametrize("name", FORMS)
def test_infinite_biases(name):
    q, k, v = np.zeros((1, 3, 1)), np.zeros((1, 3, 1)), np.array([[[1.0], [2.0], [4.0]]])
    bias = np.array([[np.inf, 0.0, 0.0], [-np.inf] * 3, [0.0, -np.inf, 0.0]])
    np.testing.assert_array_equal(FORMS[name](q, k, v, bias=bias)[0, :, 0], [1.0, 0.0, 2.5])
    bias[1, :2] = np.inf
    assert np.isnan(FORMS[name](q, k, v, bias=bias)[0, 1]).all()


@pytest.mark.parametrize("name", FORMS)
def test_extreme_scores_stay_finite(name):
    v = np.array([[[1.0], [3.0]]])
    with np.errstate(all="raise"):
        for size in (1e2, 1e10, 1e75):
            k = np.array([[[size], [-size]]])
            np.testing.assert_allclose(FORMS[name](np.array([[[size]]]), k, v), [[[1.0]]], rtol=1e-15)
            np.testing.assert_allclose(FORMS[name](np.array([[[size]]]), np.full((1, 2, 1), size), v), [[[2.0]]], rtol=1e-15)
        np.testing.assert_allclose(FORMS[name](np.full((1, 1, 1), 5e-310), np.full((1, 2, 1), 5e-310), v), [[[2.0]]], rtol=1e-15)
    with np.errstate(over="ignore"):  # a product beyond float64 has no right answer, and does not get a finite one
        assert np.isnan(FORMS[name](np.array([[[1e200]]]), np.array([[[1e200], [0.0]]]), v)).all()
