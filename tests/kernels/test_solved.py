"""Recurrences that read by solving or by levels, against loops over tokens in single numbers, and at their ends."""

import math

import numpy as np
import pytest

from tinyattn import definitions, grad, kernels
from tinyattn.caches import StateCache
from tinyattn.laws.oracles import solved
from tinyattn.ops.levels import levels_of

RNG = np.random.default_rng(7)
Q, K, V = (RNG.standard_normal(shape) for shape in ((1, 4, 5, 3), (1, 2, 7, 3), (1, 2, 7, 2)))
DECAY, BETA, RIDGE, SCALES = -RNG.random((1, 2, 7)), RNG.random((1, 2, 7)), 0.5 + RNG.random((2, 3)), RNG.random((1, 2, 7, 5))
FORMS = {"mesa": {"log_decay": DECAY, "beta": BETA, "ridge": RIDGE}, "log_linear_attention": {"log_decay": DECAY, "level_scales": SCALES}}
BOTH = [(name, door) for name in FORMS for door in (definitions, kernels)]
IDS = [f"{name}-{door.__name__.rpartition('.')[2]}" for name, door in BOTH]


def faded(h, j, t):
    return math.prod(math.exp(DECAY[0, h, n]) for n in range(j + 1, t + 1))


def test_mesa_is_the_map_that_gradient_descent_on_the_weighed_errors_ends_at():
    out = definitions.mesa(Q, K, V, **FORMS["mesa"])
    for h, i in np.ndindex(4, 5):
        t, g = i + 2, h // 2
        weights, fitted = np.array([BETA[0, g, j] * faded(g, j, t) for j in range(t + 1)])[:, None], np.zeros((3, 2))
        for _ in range(600):
            errors = K[0, g, : t + 1].T @ (weights * (K[0, g, : t + 1] @ fitted - V[0, g, : t + 1]))
            fitted -= 0.1 * (errors + RIDGE[g][:, None] * fitted)
        np.testing.assert_allclose(out[0, h, i], Q[0, h, i] @ fitted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(solved.ridge_regression(Q, K, V, **FORMS["mesa"]), out, rtol=1e-11)


def test_levels_are_segments_of_a_tree():
    """Segments as the page of the paper draws them, made by cutting the past of each token from the longest power of two on."""
    out = definitions.log_linear_attention(Q, K, V, **FORMS["log_linear_attention"], scale=0.5)
    want = np.zeros_like(out)
    for h, i in np.ndindex(4, 5):
        t, g, start = i + 2, h // 2, 0
        for level in (3, 2, 1):
            if t - start >= 1 << (level - 1):
                for j in range(start, start + (1 << (level - 1))):
                    want[0, h, i] += 0.5 * SCALES[0, g, t, level] * faded(g, j, t) * (Q[0, h, i] @ K[0, g, j]) * V[0, g, j]
                start += 1 << (level - 1)
        want[0, h, i] += 0.5 * SCALES[0, g, t, 0] * (Q[0, h, i] @ K[0, g, t]) * V[0, g, t]
    np.testing.assert_allclose(out, want, rtol=1e-12)
    np.testing.assert_allclose(solved.pair_by_pair(Q, K, V, **FORMS["log_linear_attention"], scale=0.5), out, rtol=1e-12)


@pytest.mark.parametrize(("name", "door"), BOTH, ids=IDS)
def test_a_decay_of_zero_forgets_all_before_and_no_token_is_a_result(name, door):
    form, options = getattr(door, name), FORMS[name]
    cut = {**options, "log_decay": np.where(np.arange(7) == 4, -np.inf, DECAY)}
    late = {n: x[:, :, 4:] if n != "ridge" else x for n, x in options.items()}
    if name == "mesa":
        np.testing.assert_allclose(form(Q, K, V, **cut)[..., 2:, :], form(Q[..., 2:, :], K[..., 4:, :], V[..., 4:, :], **late), rtol=1e-12)
    changed = form(Q, np.where(np.arange(7)[:, None] < 4, 9.0, K), V, **cut)
    np.testing.assert_allclose(changed[..., 2:, :], form(Q, K, V, **cut)[..., 2:, :], rtol=1e-12)
    none = {n: x[:, :, :0] if n != "ridge" else x for n, x in options.items()}
    out, state = form(Q[..., :0, :], K[..., :0, :], V[..., :0, :], return_state=True, **none)
    assert out.shape == (1, 4, 0, 2)
    assert not any(np.any(part) for part in state)


@pytest.mark.parametrize(("name", "door"), BOTH, ids=IDS)
def test_a_key_of_nan_reaches_no_earlier_query(name, door):
    keys = np.where(np.arange(7)[:, None] == 4, np.nan, K)
    out = getattr(door, name)(Q, keys, V, **FORMS[name])
    np.testing.assert_allclose(out[..., :2, :], getattr(definitions, name)(Q, K, V, **FORMS[name])[..., :2, :], rtol=1e-12)
    assert np.isnan(out[..., 2:, :]).all()


@pytest.mark.parametrize("door", [definitions, kernels], ids=["definition", "kernel"])
@pytest.mark.parametrize(("state", "error", "words"), [
    (np.zeros((1, 2, 1, 3, 2)), TypeError, "initial_state: expected the pair"), ((np.zeros((1, 2, 2, 3, 2)), 2.0), TypeError, "tokens seen"),
    ((np.zeros((1, 2, 2, 3, 2)), -1), ValueError, "tokens seen.*got -1"), ((np.zeros((1, 2, 1, 3, 2)), 2), ValueError, r"states.*\(1, 2, 2, 3, 2\)"),
    ((np.zeros((1, 2, 2, 3, 2)), np.array([[1, 2]])), ValueError, "equal ones"), ((np.zeros((1, 2, 2, 3, 2)), np.array([2])), ValueError, r"shape \(1, 2\)"),
    ((np.zeros((1, 2, 6, 3, 2)), 30), ValueError, r"level_scales: expected at least 7 levels for 37 tokens, got shape \(1, 2, 7, 5\)"),
    ((np.zeros((1, 2, 6, 3, 2)), 1), ValueError, r"level_scales: expected one for each of the 6 levels of the initial_state, got shape")])
def test_a_state_of_levels_is_refused_by_name(door, state, error, words):
    with pytest.raises(error, match=words):
        door.log_linear_attention(Q, K, V, initial_state=state, **FORMS["log_linear_attention"])


@pytest.mark.parametrize("door", [definitions, kernels], ids=["definition", "kernel"])
@pytest.mark.parametrize(("change", "error", "words"), [
    ({"ridge": -RIDGE}, ValueError, "ridge: expected finite numbers above 0"), ({"ridge": RIDGE + np.inf}, ValueError, "ridge: expected finite"),
    ({"beta": BETA - 1.0}, ValueError, "beta: expected numbers of at least 0, as each weighs"), ({"ridge": RIDGE[:1]}, ValueError, r"ridge: expected shape \(2, 3\), got \(1, 3\)"), ({"ridge": 1.0}, TypeError, "ridge: .*got float"),
    ({"initial_state": np.zeros((1, 2, 3, 2))}, TypeError, "initial_state: expected the pair"),
    ({"initial_state": (np.zeros((1, 2, 3, 2)), np.zeros((1, 2, 3, 2)))}, ValueError, r"initial_state \(k k\^T\): expected shape \(1, 2, 3, 3\)")])
def test_a_regression_is_refused_by_name(door, change, error, words):
    with pytest.raises(error, match=words):
        door.mesa(Q, K, V, **{**FORMS["mesa"], **change})


def test_a_ridge_that_rounding_takes_away_is_named():
    ones = np.ones((2, 2))
    with pytest.raises(ValueError, match="ridge: too small beside the keys, whose products round it away in float64"):
        definitions.mesa(ones, ones, ones, log_decay=np.zeros(2), beta=np.ones(2), ridge=np.full(2, 1e-30))


@pytest.mark.parametrize("seen", [0, 1, 5, 8, 40])
def test_the_kernel_goes_on_from_any_number_of_tokens(seen):
    length, rng = 70, np.random.default_rng(seen)
    q, k, v = (rng.standard_normal((2, length, 3)) for _ in range(3))
    options = {"log_decay": -rng.random((2, length)), "level_scales": rng.random((2, length, levels_of(seen + length)))}
    start = (rng.standard_normal((2, levels_of(seen), 3, 3)), seen)
    got, want = (door.log_linear_attention(q, k, v, initial_state=start, return_state=True, **options) for door in (kernels, definitions))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got[1][0], want[1][0], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(got[1][1], want[1][1])


@pytest.mark.parametrize("name", FORMS)
def test_a_state_of_two_arrays_is_cut_moved_and_kept_in_a_file(name, tmp_path):
    q, k, v, options = Q[:, :, [0, 0, 0, 1, 2, 3, 4]], K, V, FORMS[name]
    rows = [np.concatenate((x, 2 * x)) for x in (q, k, v)]
    gates = {n: x if n == "ridge" else np.concatenate((x, x)) for n, x in options.items()}

    def tokens(a, b):
        return {n: x if n == "ridge" else x[:, :, a:b] for n, x in gates.items()}

    want = getattr(definitions, name)(*rows, **gates)
    cache = StateCache(getattr(definitions, name), slack=2)
    for a, b in ((0, 1), (1, 6)):
        cache.step(*(x[:, :, a:b] for x in rows), **tokens(a, b))
    cache.truncate(5)
    cache.reorder(np.array([1, 0, 1]))
    moved = [x[[1, 0, 1]] for x in rows]
    picked = {n: x if n == "ridge" else x[[1, 0, 1], :, 5:] for n, x in gates.items()}
    np.testing.assert_allclose(cache.step(*(x[:, :, 5:] for x in moved), **picked), want[[1, 0, 1], :, 5:], rtol=1e-11)
    whole = StateCache(getattr(definitions, name))
    whole.step(*(x[:, :, :5] for x in rows), **tokens(0, 5))
    whole.save(tmp_path / "state")
    loaded = StateCache.load(tmp_path / "state", mechanism=getattr(definitions, name))
    np.testing.assert_allclose(loaded.step(*(x[:, :, 5:] for x in rows), **tokens(5, 7)), want[:, :, 5:], rtol=1e-11)


def test_what_a_query_alone_cannot_say_is_named():
    cache = StateCache(definitions.log_linear_attention)
    cache.step(Q[:, :, :3], K[:, :, :3], V[:, :, :3], **{n: x[:, :, :3] for n, x in FORMS["log_linear_attention"].items()})
    with pytest.raises(ValueError, match="attend: .*step answers"):
        cache.attend(Q[:, :, :1])


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_gradient_of_mesa_by_its_state_is_that_of_every_entry(symmetric):
    keys = RNG.standard_normal((1, 2, 3, 3))
    state = (RNG.standard_normal((1, 2, 3, 2)), keys @ keys.mT if symmetric else np.eye(3) + 0.1 * keys)
    weights, shares = RNG.standard_normal((1, 4, 5, 2)), RNG.standard_normal((1, 2, 3, 3))

    def loss(given, door):
        out, (_, after) = door.mesa(given["q"], K, V, **FORMS["mesa"], initial_state=given["state"], return_state=True)
        return (out * weights).sum() + (after * shares).sum()

    given = {"q": Q, "state": state}
    right, got = (grad(loss)(given, door) for door in (definitions, kernels))
    for a, b in zip((right["q"], *right["state"]), (got["q"], *got["state"]), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)
