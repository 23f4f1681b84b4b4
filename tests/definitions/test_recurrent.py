"""States that fade or are corrected, against loops over tokens and channels written from the formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import drawn

from tinyattn import definitions
from tinyattn.engine.check import directional

EPS = np.finfo(np.float64).eps


def gated(seed, q_len, kv_len, groups=2, strong=1.0):
    """Returns q, keys shorter than 1, v, log decays per channel, and write strengths."""
    q, k, v, rng = drawn(seed, q_len, kv_len, groups, d=3, e=4)
    k /= 1 + np.linalg.norm(k, axis=-1, keepdims=True)
    return q, k, v, -strong * rng.random((2, 2, kv_len, 3)), rng.random((2, 2, kv_len))


def loop(q, k, v, *, decay=None, beta=None, scale=1.0):
    """S[d][e], decayed by channel, then corrected or added to, then read."""
    batch, heads, q_len, width = q.shape
    kv_heads, kv_len, value_width = k.shape[1], k.shape[2], v.shape[-1]
    out = np.zeros((batch, heads, q_len, value_width))
    for b in range(batch):
        for h in range(heads):
            g = h // (heads // kv_heads)
            state = [[0.0] * value_width for _ in range(width)]
            for t in range(kv_len):
                if decay is not None:
                    state = [[math.exp(decay[b, g, t, d]) * s for s in state[d]] for d in range(width)]
                for e in range(value_width):
                    said = sum(state[d][e] * k[b, g, t, d] for d in range(width))
                    wrote = v[b, g, t, e] if beta is None else beta[b, g, t] * (v[b, g, t, e] - said)
                    for d in range(width):
                        state[d][e] += k[b, g, t, d] * wrote
                i = t - (kv_len - q_len)
                if i >= 0:
                    for e in range(value_width):
                        out[b, h, i, e] = scale * sum(q[b, h, i, d] * state[d][e] for d in range(width))
    return out


KINDS = ("gated_linear_attention", "simple_gated_linear_attention", "retention", "delta_rule", "gated_delta_rule")


def arguments(kind, decay, beta):
    """The options of a kind, and what they are to the loop."""
    token = decay[..., 0]
    return {"gated_linear_attention": ({"log_decay": decay}, {"decay": decay}),
            "simple_gated_linear_attention": ({"log_decay": token}, {"decay": np.repeat(token[..., None], 3, axis=-1)}),
            "retention": ({"log_decay": decay[0, :, :1, 0].sum(axis=1)}, {"decay": np.zeros_like(decay) + decay[0, :, :1, :1]}),
            "delta_rule": ({"beta": beta}, {"beta": beta}),
            "gated_delta_rule": ({"beta": beta, "log_decay": token}, {"beta": beta, "decay": np.repeat(token[..., None], 3, axis=-1)}),
            }[kind]


def forms(kind):
    names = [kind, *(f"{kind}_{form}" for form in ("parallel", "recurrent", "chunked"))]
    found = {name: getattr(definitions, name) for name in names if hasattr(definitions, name)}
    chunked = found[f"{kind}_chunked"]
    return found | {"chunked by 1": lambda *a, **o: chunked(*a, chunk=1, **o), "by 3": lambda *a, **o: chunked(*a, chunk=3, **o)}


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 99), q_len=st.sampled_from([0, 1, 3, 6]), more=st.sampled_from([0, 1, 4]),
       groups=st.sampled_from([1, 2]), strong=st.sampled_from([0.1, 3.0, 50.0]), scale=st.sampled_from([None, 0.5]))
def test_every_form_is_the_loop(kind, seed, q_len, more, groups, strong, scale):
    q, k, v, decay, beta = gated(seed, q_len, q_len + more, groups, strong)
    options, told = arguments(kind, decay, beta)
    want = loop(q, k, v, scale=scale or 1.0, **told)
    for name, form in forms(kind).items():
        np.testing.assert_allclose(form(q, k, v, scale=scale, **options), want, rtol=1e-12, atol=1000 * EPS, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_gates_and_states(kind):
    rng = np.random.default_rng(0)
    q, k, v, decay, beta = gated(0, 4, 5)
    options, _ = arguments(kind, decay, beta)
    state = rng.standard_normal((2, 2, 3, 4))
    for name, form in forms(kind).items():
        def both(t, form=form):
            out, last = form(t["q"], t["k"], t["v"], return_state=True, **{n: t[n] for n in options}, initial_state=t["state"])
            return np.concatenate((out.reshape(-1), last.reshape(-1)))

        a, b = directional(both, {"q": q, "k": k, "v": v, "state": state, **options}, rng)
        assert abs(a - b) < 1e-7, name


@pytest.mark.parametrize("kind", KINDS)
def test_one_head_half_precision_and_no_tokens(kind):
    q, k, v, decay, beta = gated(0, 5, 5, groups=1)
    options, _ = arguments(kind, decay, beta)
    for name, form in forms(kind).items():
        half, state = form(*(x.astype(np.float16) for x in (q, k, v)), return_state=True, **options)
        assert (half.dtype, state.dtype) == (np.float16, np.float32), name
        empty = {n: x if kind == "retention" else x[:, :, :0] for n, x in options.items()}
        out, state = form(q[..., :0, :], k[..., :0, :], v[..., :0, :], return_state=True, **empty)
        assert out.shape == (2, 2, 0, 4)
        np.testing.assert_array_equal(state, np.zeros((2, 2, 3, 4)))


@pytest.mark.parametrize("kind", KINDS)
def test_gates_are_refused_by_name(kind):
    q, k, v, decay, beta = gated(0, 3, 3)
    options, _ = arguments(kind, decay, beta)
    for form in forms(kind).values():
        for gate, array in options.items():
            for bad, error, words in ((array[..., :0], ValueError, gate), (np.full_like(array, np.nan), ValueError, f"{gate}.*NaN"),
                                      (array.tolist(), TypeError, gate), (array.astype(int), TypeError, gate)):
                with pytest.raises(error, match=words):
                    form(q, k, v, **{**options, gate: bad})
        if "log_decay" in options:
            with pytest.raises(ValueError, match="log_decay: expected numbers of at most 0"):
                form(q, k, v, **{**options, "log_decay": -options["log_decay"]})
        with pytest.raises(ValueError, match="q_len <= kv_len"):
            form(np.ones((2, 4, 9, 3)), k, v, **options)
        with pytest.raises(ValueError, match=r"initial_state: expected shape \(2, 2, 3, 4\), got \(2, 2, 3\)"):
            form(q, k, v, **options, initial_state=np.ones((2, 2, 3)))


def test_strong_decays_overflow_nowhere():
    q, k, v, decay, beta = gated(0, 40, 40, strong=900.0)
    for kind in KINDS:
        options, told = arguments(kind, decay, beta)
        for name, form in forms(kind).items():
            np.testing.assert_allclose(form(q, k, v, **options), loop(q, k, v, **told), rtol=1e-11, atol=1e-13, err_msg=name)
