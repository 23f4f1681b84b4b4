"""What decays do at their ends: resets, strong ones in float32, and tokens that are not finite."""

from functools import partial

import numpy as np
import pytest

from tinyattn import definitions, grad

NAMES = ("gated_linear_attention", "simple_gated_linear_attention", "gated_delta_rule")
FORMS = [(name, form) for name in NAMES for form in ("parallel", "chunked", "recurrent") if hasattr(definitions, f"{name}_{form}")]
ALL = [*FORMS, *(("linear_attention", form) for form in ("parallel", "chunked", "recurrent")), ("delta_rule", "chunked")]


def drawn(name, length, dtype=np.float64):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, length, 4)).astype(dtype) for _ in range(3))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    decay = -rng.random((2, length, 4) if name == "gated_linear_attention" else (2, length)).astype(dtype)
    return q, k, v, decay, rng.random((2, length)).astype(dtype)


def called(name, form, decay, beta):
    given = {"log_decay": decay, "beta": beta, "causal": True, "normalize": False}
    takes = {"linear_attention": ("causal", "normalize"), "delta_rule": ("beta",), "gated_delta_rule": ("log_decay", "beta")}
    options = {option: given[option] for option in takes.get(name, ("log_decay",))}
    return partial(getattr(definitions, f"{name}_{form}"), **options)


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("clears", [-np.inf, -1e30, -1000.0])
def test_a_decay_of_0_begins_anew(name, form, clears):
    q, k, v, decay, beta = drawn(name, 90)
    decay[:, 70] = clears
    out, state = called(name, form, decay, beta)(q, k, v, return_state=True)
    later = called(name, form, decay[:, 70:], beta[:, 70:])(q[:, 70:], k[:, 70:], v[:, 70:], return_state=True)
    np.testing.assert_allclose(out[:, 70:], later[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(state, later[1], rtol=1e-12, atol=1e-14)
    slope = grad(lambda x: np.sum(np.sin(called(name, form, x, beta)(q, k, v))))(decay)
    np.testing.assert_array_equal(slope[:, 70], 0)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_strong_decays_and_resets_are_as_accurate_as_weak_ones(name, form):
    q, k, v, decay, beta = drawn(name, 256, np.float32)
    decay *= 30
    decay[:, ::33] = -1000
    wide = [x.astype(np.float64) for x in (q, k, v)]
    truth = called(name, "recurrent", decay.astype(np.float64), beta.astype(np.float64))(*wide)
    error = np.abs(called(name, form, decay, beta)(q, k, v) - truth).max() / np.abs(truth).max()
    assert error < 1e-6  # 9.7e-3 where differences of running sums are taken in float32


@pytest.mark.parametrize(("name", "form"), ALL)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["q", "k", "v"])
def test_what_is_not_finite_changes_no_earlier_row(name, form, which):
    q, k, v, decay, beta = drawn(name, 90)
    f = called(name, form, decay, beta)
    clean, arrays = f(q, k, v), [q.copy(), k.copy(), v.copy()]
    arrays[which][:, 75, 2] = np.nan
    out = f(*arrays)
    np.testing.assert_allclose(out[:, :75], clean[:, :75], rtol=1e-12, atol=1e-14)
    assert np.isnan(out[:, 75]).any()
