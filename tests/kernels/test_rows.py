"""Rows of scores between two products: thresholds, and keys that alone have a weight."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.softmax import entmax as mechanism
from tinyattn.ops.entmax import entmax

RNG = np.random.default_rng


def check_thresholds(dtype):
    for shape, size in (((2, 3, 0), 1.0), ((1, 5, 1), 1.0), ((2, 3, 7), 3.0), ((1, 4, 75), 0.1), ((1, 4, 75), 1.0), ((1, 4, 75), 1e4)):
        scores = (RNG(shape[-1]).standard_normal(shape) * size).astype(dtype)
        scores[..., ::3] = -np.inf
        scores[0, 2] = -np.inf
        for alpha in (1.2, 1.5, 2.0, 3.0):
            got, _ = mechanism.found(scores, alpha)
            want = entmax(scores.astype(np.float64), alpha)
            np.testing.assert_allclose(got.dense(shape), want, rtol=0, atol=40 * np.finfo(dtype).eps)
            assert got.keys.size == got.starts[-1] >= np.count_nonzero(want)
    for odd in (np.nan, np.inf):
        scores = np.zeros((1, 3, 40), dtype)
        scores[..., ::5] = -50.0
        scores[0, 0, 3], scores[0, 1] = odd, odd
        for alpha in (1.2, 1.5, 2.0, 3.0):
            for part in mechanism.found(scores, alpha):
                odd_keys = np.isnan(part.dense(scores.shape))
                assert (odd_keys.all(axis=-1) if alpha in (1.5, 2.0) else odd_keys.any(axis=-1)).tolist() == [[True, True, False]]


def check_all(dtype):
    with np.errstate(all="ignore"):  # as in the tasks of a kernel, whatever is compiled
        check_thresholds(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("check", [check_thresholds])
def test_rows(check, dtype):
    check(dtype)


def slopes(f, arrays, **options):
    """Returns the output and all gradients."""
    out, pull = vjp(lambda t: f(**t, **options), arrays)
    return [out, *pull(np.cos(np.arange(out.size)).reshape(out.shape)).values()]


def arrays_of(size, q_len=50, kv_len=70):
    rng = RNG(0)
    return {n: rng.standard_normal((2, heads, length, 6)) * factor
            for n, heads, length, factor in (("q", 4, q_len, size), ("k", 2, kv_len, size), ("v", 2, kv_len, 1.0))}


@pytest.mark.parametrize("options", [{"causal": True}, {"window": (20, 3), "softcap": 9.0}, {"mask": RNG(2).random((4, 50, 70)) < 0.7}],
                         ids=lambda options: "-".join(options))
@pytest.mark.parametrize("alpha", [1.5, 1.8, 2.0])
def test_keys_without_a_weight_are_left_out_of_the_products(alpha, options, monkeypatch):
    arrays, ran = arrays_of(3.0), []
    want = slopes(definitions.entmax_attention, arrays, alpha=alpha, **options)
    monkeypatch.setattr(mechanism, "fits", lambda *call: False)
    monkeypatch.setattr(mechanism.Few, "gathered", lambda self, x, f=mechanism.Few.gathered: ran.append(x) or f(self, x))
    got = slopes(kernels.entmax_attention, arrays, alpha=alpha, **options)
    assert len(ran) == 2 * 4  # forward and backward, one block for each kv head
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["sparsemax_attention", "stick_breaking_attention"])
def test_an_infinite_value_with_hardly_a_weight_is_not_left_out(name):
    q, k, v = np.full((1, 3, 1), 9.0), np.arange(600.0)[:, None] / 20, np.arange(600.0)[:, None]
    finite = getattr(kernels, name)(q, k[None], v[None])
    v[3] = np.inf
    got, want = (getattr(door, name)(q, k[None], v[None]) for door in (kernels, definitions))
    assert np.isfinite(finite).all() and not np.isfinite(got).any() and not np.isfinite(want).any()


@pytest.mark.parametrize("current", [False, True])
def test_long_sticks_of_which_nothing_is_left(current):
    arrays = arrays_of(6.0, 20, 600)
    got, want = (slopes(door.stick_breaking_attention, arrays, current=current) for door in (kernels, definitions))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
