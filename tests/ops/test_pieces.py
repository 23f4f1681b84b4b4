"""Norms, activations, features, loss, softmax family, heads, merge: values, gradients, extremes, bad inputs."""

import math

import numpy as np
import pytest

from tinyattn import ops
from tinyattn.engine.check import directional
from tinyattn.engine.grad import grad
from tinyattn.ops.softmax import exponentials

RNG = np.random.default_rng(3)
EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize(("f", "says"), [
    (ops.sigmoid, lambda x: 1 / (1 + math.exp(-x))), (ops.silu, lambda x: x / (1 + math.exp(-x))),
    (ops.softplus, lambda x: math.log(1 + math.exp(x))), (ops.relu, lambda x: max(x, 0.0)),
    (ops.relu_squared, lambda x: max(x, 0.0) ** 2),
    (ops.gelu, lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))),
    (ops.elu_plus_one, lambda x: x + 1 if x > 0 else math.exp(x)), (ops.relu_features, lambda x: max(x, 0.0))])
def test_activations(f, says):
    x = np.concatenate((RNG.standard_normal(20) * 3, [0.0]))
    np.testing.assert_allclose(f(x), [says(v) for v in x], rtol=16 * EPS, atol=16 * EPS)
    with np.errstate(all="raise"):
        extreme = f(np.array([-1e4, 1e4, 0.0], np.float32))
    assert np.isfinite(extreme).all()
    assert extreme.dtype == np.float32
    a, b = directional(f, x[:20], RNG)
    assert abs(a - b) < 1e-6
    with np.errstate(all="raise"):
        assert np.isfinite(grad(lambda t: f(t).sum())(np.array([-1e3, 1e3, 0.0]))).all()


def test_elu_plus_one_has_slope_one_at_zero():
    assert grad(lambda x: ops.elu_plus_one(x).sum())(np.zeros(1)) == 1.0


def test_norms_are_their_formulas():
    x, w, b = RNG.standard_normal((3, 4, 5)), RNG.standard_normal(5), RNG.standard_normal(5)
    for row in np.ndindex(3, 4):
        mean_square = sum(v * v for v in x[row]) / 5
        np.testing.assert_allclose(ops.rms_norm(x, w)[row], x[row] / math.sqrt(mean_square + 1e-6) * w, rtol=32 * EPS)
        mean = sum(x[row]) / 5
        variance = sum((v - mean) ** 2 for v in x[row]) / 5
        np.testing.assert_allclose(ops.layer_norm(x, w, b)[row], (x[row] - mean) / math.sqrt(variance + 1e-5) * w + b,
                                   rtol=1e-12, atol=64 * EPS)
    np.testing.assert_allclose(np.linalg.norm(ops.unit(x), axis=-1), 1.0, rtol=8 * EPS)
    np.testing.assert_array_equal(ops.unit(np.zeros((1, 3))), np.zeros((1, 3)))
    np.testing.assert_array_equal(grad(lambda t: ops.unit(t).sum())(np.zeros(3)), np.zeros(3))
    for f in (lambda t: ops.rms_norm(t["x"], t["w"]), lambda t: ops.layer_norm(t["x"], t["w"], t["b"]),
              lambda t: ops.unit(t["x"])):
        p, n = directional(f, {"x": x, "w": w, "b": b}, RNG)
        assert abs(p - n) < 1e-6
    assert ops.rms_norm(x.astype(np.float32)).dtype == np.float32
    for call in (lambda: ops.rms_norm(x, np.ones(4)), lambda: ops.layer_norm(x, np.ones((1, 5)))):
        with pytest.raises(ValueError, match=r"weight: expected shape \(5,\)"):
            call()


def test_cross_entropy_is_its_formula():
    logits, targets = RNG.standard_normal((2, 3, 5)) * 3, RNG.integers(0, 5, (2, 3))
    want = np.mean([math.log(sum(map(math.exp, logits[i]))) - logits[(*i, targets[i])] for i in np.ndindex(2, 3)])
    assert abs(ops.cross_entropy(logits, targets) - want) < 32 * EPS
    shifted = logits + 1000.0
    assert abs(ops.cross_entropy(shifted, targets) - want) < 1e-12
    a, b = directional(lambda t: ops.cross_entropy(t, targets), logits, RNG)
    assert abs(a - b) < 1e-7
    hidden = np.array([[0.0, -np.inf]])
    assert ops.cross_entropy(hidden, np.array([0])) == 0.0
    for bad, error, words in ((np.zeros((2, 3)), TypeError, "float64"), (targets[0], ValueError, r"\(2, 3\).*\(3,\)"),
                              (targets + 5, IndexError, "0 to 4"), (targets - 9, IndexError, "targets")):
        with pytest.raises(error, match=words):
            ops.cross_entropy(logits, bad)


def test_the_softmax_family():
    scores, sinks = RNG.standard_normal((2, 3, 4, 5)) * 4, RNG.standard_normal(3)
    visible = RNG.random((4, 5)) < 0.6
    visible[1] = False
    weights, lse, logs = ops.softmax(scores, visible, sinks), ops.logsumexp(scores, visible, sinks), ops.log_softmax(scores, visible)
    for b, h, i in np.ndindex(2, 3, 4):
        terms = [math.exp(scores[b, h, i, j]) if visible[i, j] else 0.0 for j in range(5)]
        total = sum(terms) + math.exp(sinks[h])
        np.testing.assert_allclose(weights[b, h, i], np.array(terms) / total, rtol=32 * EPS)
        assert abs(lse[b, h, i] - math.log(total)) < 64 * EPS
    assert (ops.softmax(scores, visible)[..., 1, :] == 0.0).all()
    assert (ops.logsumexp(scores, visible)[..., 1] == -np.inf).all()
    assert (logs[..., 1, :] == -np.inf).all()
    np.testing.assert_allclose(np.exp(logs[..., 0, :]).sum(axis=-1), 1.0, rtol=8 * EPS)
    assert ops.softmax(np.zeros((2, 0))).shape == (2, 0)
    for f in (lambda s: ops.softmax(s, visible, sinks), lambda s: ops.logsumexp(s, visible, sinks)):
        a, b = directional(f, scores, RNG)
        assert abs(a - b) < 1e-7


def test_golden_sink_and_no_overflow():
    weights = ops.softmax(np.array([[[0.0, 1.0, 2.0]]]), sinks=np.array([0.5]))
    np.testing.assert_allclose(weights[0, 0], [0.078394, 0.213097, 0.579259], atol=5e-7)
    with np.errstate(all="raise"):
        for size in (1e3, 1e150, 1e300):
            w = ops.softmax(np.array([[size, -size, size]]))
            np.testing.assert_array_equal(w, [[0.5, 0.0, 0.5]])
    exps, total, _ = exponentials(np.full((1, 1, 3), -1e5), np.array([-1e5]))
    assert (exps.sum(), total.item()) == (3.0, 4.0)


def test_heads_are_cut_and_joined():
    x = RNG.standard_normal((2, 5, 12))
    np.testing.assert_array_equal(ops.merge_heads(ops.split_heads(x, 3)), x)
    np.testing.assert_array_equal(ops.split_heads(x, 3)[1, 2, 4], x[1, 4, 8:])
    y = RNG.standard_normal((2, 6, 5, 4))
    np.testing.assert_array_equal(ops.unfold_group(ops.fold_group(y, 2), 6), y)
    np.testing.assert_array_equal(ops.split_group(y, 2)[0, 1, 2], y[0, 5])
    with pytest.raises(ValueError, match=r"heads.*12.*5.*\(2, 5, 12\)"):
        ops.split_heads(x, 5)


def partial(scores, v):
    exps = np.exp(scores)
    with np.errstate(divide="ignore"):
        lse = np.log(exps.sum(axis=-1))
    return exps @ v / np.maximum(exps.sum(axis=-1), 1e-300)[:, None], lse


def test_merge_is_the_attention_over_all_keys():
    scores, v = RNG.standard_normal((3, 6)), RNG.standard_normal((6, 2))
    scores[1, :2] = scores[2] = -np.inf
    whole = partial(scores, v)
    parts = [partial(scores[:, a:b], v[a:b]) for a, b in ((0, 2), (2, 3), (3, 6))]
    for got in (ops.merge(ops.merge(*parts[:2]), parts[2]), ops.merge(parts[2], ops.merge(parts[1], parts[0]))):
        np.testing.assert_allclose(got[0], whole[0], rtol=32 * EPS, atol=32 * EPS)
        np.testing.assert_allclose(got[1], whole[1], rtol=32 * EPS)
    nothing = (np.zeros((3, 2)), np.full(3, -np.inf))
    for got in (ops.merge(whole, nothing), ops.merge(nothing, whole)):
        np.testing.assert_array_equal(got[0], whole[0])
        np.testing.assert_allclose(got[1], whole[1], rtol=4 * EPS)
    a, b = directional(lambda t: ops.merge((t[0], t[1]), (t[2], t[3]))[0] + ops.merge((t[0], t[1]), (t[2], t[3]))[1][:, None],
                       (RNG.standard_normal((3, 2)), RNG.standard_normal(3), RNG.standard_normal((3, 2)),
                        RNG.standard_normal(3)), RNG)
    assert abs(a - b) < 1e-7
    g = grad(lambda t: ops.merge((t, np.full(3, -np.inf)), nothing)[0].sum())(np.ones((3, 2)))
    np.testing.assert_array_equal(g, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"lse: expected shape \(3,\)"):
        ops.merge(whole, (whole[0], whole[1][:, None]))
    with pytest.raises(ValueError, match="out: expected one shape"):
        ops.merge(whole, (whole[0][:1], whole[1][:1]))
