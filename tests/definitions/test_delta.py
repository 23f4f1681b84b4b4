"""The delta rules beyond the gated one at their ends: decays of 0, tokens that are not finite, gradients, and arguments that are refused."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyattn import definitions, grad
from tinyattn.caches import StateCache
from tinyattn.engine.check import directional

STEPS = 3
NAMES = ("generalized_delta_rule", "kimi_delta_attention", "rwkv7", "delta_product")
FORMS = [(name, form) for name in NAMES for form in ("recurrent", "chunked")]


def drawn(name, length, dtype=np.float64, seed=0):
    """q, k and v with keys of length 1, and the gates; of DeltaProduct three keys per token."""
    rng, each = np.random.default_rng(seed), STEPS if name == "delta_product" else 1
    q, k, v = (rng.standard_normal((2, n, d)) for n, d in ((length, 4), (each * length, 4), (each * length, 3)))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    decay, aside = -rng.random((2, length, 4)), 0.5 * rng.standard_normal((2, length, 4))
    gates = {"generalized_delta_rule": {"log_decay": decay, "read": -k[:, :length] + aside, "write": 0.5 * k[:, :length]},
             "kimi_delta_attention": {"log_decay": decay, "beta": rng.random((2, length))},
             "rwkv7": {"log_decay": decay, "removal": k[:, :length], "rate": rng.random((2, length, 4))},
             "delta_product": {"log_decay": decay[..., 0], "beta": 2 * rng.random((2, each * length))}}[name]
    return [x.astype(dtype) for x in (q, k, v)], {gate: x.astype(dtype) for gate, x in gates.items()}


def called(name, form):
    more = {"steps": STEPS} if name == "delta_product" else {}
    return partial(getattr(definitions, f"{name}_{form}"), **more)


def after(name, start, arrays, gates):
    """The arguments of the tokens from start on."""
    each = STEPS if name == "delta_product" else 1
    q, k, v = arrays
    cut = {gate: x[:, start * (each if gate == "beta" else 1):] for gate, x in gates.items()}
    return (q[:, start:], k[:, start * each:], v[:, start * each:]), cut


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("clears", [-np.inf, -1000.0])
def test_a_decay_of_0_begins_anew(name, form, clears):
    arrays, gates = drawn(name, 40)
    gates["log_decay"][:, 30] = clears
    if name != "kimi_delta_attention" and name != "delta_product":
        gates["read" if name == "generalized_delta_rule" else "removal"][:, 30] = 0  # which would bring over what was read before
    f = called(name, form)
    out, state = f(*arrays, **gates, return_state=True)
    later, gates_later = after(name, 30, arrays, gates)
    want, last = f(*later, **gates_later, return_state=True)
    np.testing.assert_allclose(out[:, 30:], want, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(state, last, rtol=1e-12, atol=1e-14)
    slope = grad(lambda x: np.sum(np.sin(f(*arrays, **{**gates, "log_decay": x}))))(gates["log_decay"])
    np.testing.assert_array_equal(slope[:, 30], 0)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["q", "k", "v"])
def test_what_is_not_finite_changes_no_earlier_row(name, form, which):
    arrays, gates = drawn(name, 40)
    f, each = called(name, form), STEPS if which and name == "delta_product" else 1
    clean = f(*arrays, **gates)
    arrays[which] = arrays[which].copy()
    arrays[which][:, 25 * each, 2] = np.nan
    out = f(*arrays, **gates)
    np.testing.assert_allclose(out[:, :25], clean[:, :25], rtol=1e-12, atol=1e-14)
    assert np.isnan(out[:, 25]).any()


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_gradients_reach_gates_and_states(name, form):
    (q, k, v), gates = drawn(name, 5)
    rng, f = np.random.default_rng(1), called(name, form)

    def both(t):
        out, last = f(t["q"], t["k"], t["v"], return_state=True, initial_state=t["state"], **{gate: t[gate] for gate in gates})
        return np.concatenate((out.reshape(-1), last.reshape(-1)))

    a, b = directional(both, {"q": q, "k": k, "v": v, "state": rng.standard_normal((2, 4, 3)), **gates}, rng)
    assert abs(a - b) < 1e-7


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_no_tokens_and_half_precision(name, form):
    arrays, gates = drawn(name, 4, np.float16)
    out, state = called(name, form)(*arrays, **gates, return_state=True)
    assert (out.dtype, state.dtype) == (np.float16, np.float32)
    none, no_gates = after(name, 4, *drawn(name, 4))
    out, state = called(name, form)(*none, **no_gates, return_state=True)
    assert out.shape == (2, 0, 3)
    np.testing.assert_array_equal(state, np.zeros((2, 4, 3)))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_gates_are_refused_by_name(name, form):
    arrays, gates = drawn(name, 3)
    f = called(name, form)
    for gate, array in gates.items():
        for bad, error, words in ((array[..., :0], ValueError, gate), (np.full_like(array, np.nan), ValueError, f"{gate}.*NaN"),
                                  (array.tolist(), TypeError, gate), (array.astype(int), TypeError, gate)):
            with pytest.raises(error, match=words.replace("removal", "(removal|read)")):
                f(*arrays, **{**gates, gate: bad})
    with pytest.raises(ValueError, match=r"log_decay: expected numbers of at most 0.*got up to 0\.\d"):
        f(*arrays, **{**gates, "log_decay": -gates["log_decay"]})
    with pytest.raises(ValueError, match="q_len <= kv_len"):
        f(np.ones((2, 9, 4)), *arrays[1:], **gates)
    with pytest.raises(ValueError, match=r"initial_state: expected shape \(1, 2, 4, 3\)|initial_state: expected shape \(2, 4, 3\)"):
        f(*arrays, **gates, initial_state=np.ones((2, 4)))


@pytest.mark.parametrize("form", ["recurrent", "chunked"])
def test_steps_are_whole_and_divide_the_keys(form):
    arrays, gates = drawn("delta_product", 4)
    f = getattr(definitions, f"delta_product_{form}")
    for steps, error, words in ((0, ValueError, "steps: expected 1 or more"), (5, ValueError, r"k: expected a multiple of steps = 5 keys.*12"),
                                (1.5, TypeError, "steps"), (True, TypeError, "steps"), (6, ValueError, "q_len <= kv_len / steps")):
        with pytest.raises(error, match=words):
            f(*arrays, **gates, steps=steps)
    with pytest.raises(TypeError, match="steps"):
        f(*arrays, **gates)
    with pytest.raises(ValueError, match=r"log_decay: expected shape \(2, 4\)"):  # one per token, not one per step
        f(*arrays, beta=gates["beta"], log_decay=-gates["beta"], steps=STEPS)


@given(sizes=st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=5), slack=st.sampled_from([0, 3]))
def test_a_cache_takes_the_steps_of_a_token_together(sizes, slack):
    (q, k, v), gates = drawn("delta_product", sum(sizes))
    f = called("delta_product", "recurrent")
    want, cache, at, outs = f(q, k, v, **gates), StateCache(f, slack=slack), 0, [np.zeros((1, 2, 0, 3))]
    pieces = [0, *sizes]
    for n in pieces:
        one = [x[None, :, at * each: (at + n) * each] for x, each in ((q, 1), (k, STEPS), (v, STEPS), (gates["beta"], STEPS), (gates["log_decay"], 1))]
        outs.append(cache.step(*one[:3], beta=one[3], log_decay=one[4]))
        at += n
        assert cache.length == at
    np.testing.assert_allclose(np.concatenate(outs, axis=-2)[0], want, rtol=1e-12, atol=1e-14)
    if at:
        np.testing.assert_allclose(cache.attend(q[None, :, -1:])[0], want[:, -1:], rtol=1e-12, atol=1e-14)
        cut = max(at - slack, 0)
        if slack:
            cache.truncate(cut)
            again = cache.step(q[None, :, cut:], k[None, :, cut * STEPS:], v[None, :, cut * STEPS:], beta=gates["beta"][None, :, cut * STEPS:],
                               log_decay=gates["log_decay"][None, :, cut:])
            np.testing.assert_allclose(again[0], want[:, cut:], rtol=1e-12, atol=1e-14)


def test_a_cache_refuses_a_part_of_a_token():
    (q, k, v), gates = drawn("delta_product", 2)
    cache = StateCache(called("delta_product", "chunked"))
    with pytest.raises(ValueError, match=r"k: expected 3 keys per token, one for each step, got shape \(1, 2, 5, 4\)"):
        cache.step(q[None, :, :1], k[None, :, :5], v[None, :, :5], beta=gates["beta"][None, :, :5], log_decay=gates["log_decay"][None, :, :1])
    with pytest.raises(ValueError, match="log_decay: expected one entry for each of the chunk's 2 tokens"):
        cache.step(q[None], k[None], v[None], beta=gates["beta"][None], log_decay=np.zeros((1, 2, 5)))
    assert cache.length == 0
