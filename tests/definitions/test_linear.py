"""Linear attention's three forms against a loop over pairs, with states, scales and other features."""

import math

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import drawn

from tinyattn import definitions
from tinyattn.engine.check import directional

EPS = np.finfo(np.float64).eps
FORMS = {"parallel": definitions.linear_attention_parallel, "recurrent": definitions.linear_attention_recurrent,
         "chunked 1": lambda *a, **o: definitions.linear_attention_chunked(*a, chunk=1, **o),
         "chunked 3": lambda *a, **o: definitions.linear_attention_chunked(*a, chunk=3, **o),
         "chunked": definitions.linear_attention_chunked}


@given(seed=st.integers(0, 99), q_len=st.sampled_from([0, 1, 3, 5]), more=st.sampled_from([0, 1, 4]), causal=st.booleans(),
       normalize=st.booleans(), scale=st.sampled_from([None, 0.5]), groups=st.sampled_from([1, 2]))
def test_every_form_is_the_loop(seed, q_len, more, causal, normalize, scale, groups):
    q, k, v, _ = drawn(seed, q_len, q_len + more, groups, d=3, e=4)
    want = oracle.linear(q, k, v, lambda x: x + 1 if x > 0 else math.exp(x), causal=causal, normalize=normalize, scale=scale or 1.0)
    for name, form in FORMS.items():
        got = form(q, k, v, causal=causal, normalize=normalize, scale=scale)
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=400 * EPS, err_msg=name)


@given(seed=st.integers(0, 99), first=st.integers(0, 6), normalize=st.booleans(), which=st.sampled_from(sorted(FORMS)))
def test_a_state_carries_what_came_before(seed, first, normalize, which):
    q, k, v, _ = drawn(seed, 6, 6, d=3, e=4)
    form = FORMS[which]
    options = {"causal": True, "normalize": normalize, "return_state": True}
    whole, end = form(q, k, v, **options)
    head, state = form(q[..., :first, :], k[..., :first, :], v[..., :first, :], **options)
    tail, last = form(q[..., first:, :], k[..., first:, :], v[..., first:, :], initial_state=state, **options)
    np.testing.assert_allclose(np.concatenate((head, tail), axis=-2), whole, rtol=1e-13, atol=400 * EPS)
    for a, b in zip(last if normalize else (last,), end if normalize else (end,), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=400 * EPS)
    assert (state[0] if normalize else state).shape == (2, 2, 3, 4)
    both = form(q, k, v, causal=False, normalize=normalize, initial_state=state, return_state=True)
    np.testing.assert_allclose(both[0], definitions.linear_attention_parallel(
        q, k, v, normalize=normalize, initial_state=state), rtol=1e-13, atol=400 * EPS)


@pytest.mark.parametrize("name", FORMS)
def test_gradients_and_dtypes(name):
    q, k, v, _ = drawn(0, 4, 5, d=3, e=4)
    rng = np.random.default_rng(0)
    state = (rng.random((2, 2, 3, 4)), rng.random((2, 2, 3)))
    for causal in (False, True):
        a, b = directional(lambda t, c=causal: FORMS[name](t[0], t[1], t[2], causal=c, initial_state=t[3]), (q, k, v, state), rng)
        assert abs(a - b) < 1e-7
    single = FORMS[name](*(x.astype(np.float32) for x in (q, k, v)), causal=True, return_state=True)
    assert {single[0].dtype, single[1][0].dtype} == {np.dtype(np.float32)}
    half, kept = FORMS[name](*(x.astype(np.float16) for x in (q, k, v)), causal=True, return_state=True)
    assert (half.dtype, kept[0].dtype) == (np.float16, np.float32)
    one = FORMS[name](q[0, 0], k[0, 0][:4], v[0, 0][:4], causal=True, initial_state=(state[0][0, 0], state[1][0, 0]))
    np.testing.assert_allclose(one, FORMS[name](q[:1, :1], k[:1, :1, :4], v[:1, :1, :4], causal=True, initial_state=(
        state[0][:1, :1], state[1][:1, :1]))[0, 0], rtol=1e-13)


@pytest.mark.parametrize("name", FORMS)
def test_a_total_of_zero_gives_zero(name):
    q, k, v, _ = drawn(1, 3, 3, d=3, e=4)
    out = FORMS[name](q, k, v, feature_map=lambda x: x * 0.0, causal=True)
    np.testing.assert_array_equal(out, np.zeros_like(out))
    np.testing.assert_array_equal(FORMS[name](q, k[..., :0, :], v[..., :0, :]), np.zeros((2, 4, 3, 4)))


def test_features_given_ready_and_by_hand():
    ones = np.ones((1, 3, 1))
    v = np.array([[[3.0], [6.0], [12.0]]])
    for form in FORMS.values():
        np.testing.assert_array_equal(form(ones, ones, v, feature_map=None, causal=True)[0, :, 0], [3.0, 4.5, 7.0])
        np.testing.assert_array_equal(form(ones, ones, v, feature_map=None, causal=True, normalize=False)[0, :, 0], [3.0, 9.0, 21.0])
