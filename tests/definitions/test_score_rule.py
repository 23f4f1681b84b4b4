"""Score rules: a loop over the pairs, gradients by differences, hidden pairs, caches, and every rule that is refused."""

import math
from functools import partial

import numpy as np
import oracle
import pytest
from softmax_forms import FORMS

from tinyattn import caches, definitions, fastest, in_numpy
from tinyattn.engine import Tensor, grad, vjp
from tinyattn.ops import ScoreRule, masks

RNG = np.random.default_rng
PARAMETERS = {"per head": (4, 1, 1), "per query": (5, 1), "per key": (1, 9), "per pair": (2, 1, 5, 9), "one": ()}


def rule(s, i, j, *given):
    """Not linear in anything, and infinite or NaN where the key is later than the query."""
    out = s * (i - j + 1.0) ** -0.5 + 0.1 * i
    for p in given:
        out = out + np.tanh(s * p) - abs(i - j) * p * p
    return out


def by_loops(q, k, v, seen, bias, softcap, sinks, parameters):
    """Attention with the rule, by the loop's own scores given to a loop without options."""
    full = (*q.shape[:-1], k.shape[-2])
    given, made = [np.broadcast_to(p, full) for p in parameters], np.zeros(full)
    for b, h, i, j in np.argwhere(seen):
        s = sum(float(x) * float(y) for x, y in zip(q[b, h, i], k[b, h // 2, j], strict=True)) / math.sqrt(q.shape[-1])
        s = softcap * math.tanh(s / softcap)
        at = int(i) + full[-1] - full[-2]
        out = s * (at - j + 1.0) ** -0.5 + 0.1 * at
        for p in given:
            out += math.tanh(s * p[b, h, i, j]) - abs(at - j) * p[b, h, i, j] ** 2
        made[b, h, i, j] = out + bias[b, h, i, j]
    return oracle.attention(q * 0, k, v, seen=seen, bias=made, sinks=sinks)[0]


@pytest.fixture(scope="module")
def problem():
    q, k, v, rng = oracle.drawn(1, 5, 9)
    mask = rng.random((2, 4, 5, 9)) < 0.8
    mask[0, 1, 2] = False  # a query that sees no key
    bias, sinks = rng.standard_normal((2, 4, 5, 9)), rng.standard_normal(4)
    parameters = [0.5 * rng.standard_normal(shape) for shape in PARAMETERS.values()]
    seen = mask & (np.arange(9) <= np.arange(4, 9)[:, None]) & (np.arange(9) >= np.arange(4, 9)[:, None] - 6)
    options = {"mask": mask, "causal": True, "window": (6, None), "softcap": 1.5, "bias": bias, "sinks": sinks}
    return (q, k, v), options, parameters, by_loops(q, k, v, seen, bias, 1.5, sinks, parameters)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_equals_the_loop_with_every_option(name, problem):
    arrays, options, parameters, want = problem
    np.testing.assert_allclose(FORMS[name](*arrays, **options, score=ScoreRule(rule, *parameters)), want, **oracle.CLOSE)


@pytest.mark.parametrize("name", ["attention", "streaming 3", "grouped"])
def test_gradients_are_those_of_differences(name, problem):
    arrays, options, parameters, want = problem
    tree = [*arrays, *parameters]

    def f(t):
        return FORMS[name](*t[:3], **options, score=ScoreRule(rule, *t[3:]))

    rng = RNG(2)
    d_out = rng.standard_normal(want.shape)
    slopes = vjp(f, tree)[1](d_out)
    for n, (x, slope) in enumerate(zip(tree, slopes, strict=True)):
        step = 1e-6 * rng.standard_normal(x.shape)
        moved = [f([*tree[:n], x + sign * step, *tree[n + 1:]]) for sign in (1, -1)]
        np.testing.assert_allclose(np.sum(slope * step) * 1e6, np.sum(d_out * (moved[0] - moved[1])) / 2 * 1e6, rtol=1e-7, err_msg=str(n))


@pytest.mark.parametrize("kind", ["causal", "mask", "window", "empty"])
def test_hidden_pairs_have_no_gradient_whatever_the_rule_gives_there(kind):
    q, k, v, _ = oracle.drawn(3, 5, 5)
    later = np.tril(np.ones((5, 5), bool))
    options = {"causal": {"causal": True}, "mask": {"mask": later}, "window": {"window": (None, 0)},
               "empty": {"mask": later & (np.arange(5)[:, None] > 1)}}[kind]

    def wild(s, i, j, p):
        return s * (i - j + 1.0) ** -p

    def tame(s, i, j, p):
        return s * np.maximum(i - j + 1.0, 1.0) ** -p

    def slopes(function):
        return grad(lambda t: np.sum(definitions.attention(*t[:3], **options, score=ScoreRule(function, t[3])) ** 2))([q, k, v, np.array(0.7)])

    for a, b in zip(slopes(wild), slopes(tame), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
        assert np.isfinite(a).all()


def test_a_rule_that_hides_pairs_and_lengths_of_zero():
    q, k, v, _ = oracle.drawn(4, 5, 9)
    for form in FORMS.values():
        hidden = form(q, k, v, score=lambda s, i, j: np.where(i - j < 3, s, -np.inf))
        np.testing.assert_allclose(hidden, form(q, k, v, window=(2, None)), rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(form(q, k, v, score=lambda s, i, j: s - np.inf), np.zeros((2, 4, 5, 3)))
        assert form(q[..., :0, :], k, v, score=rule).shape == (2, 4, 0, 3)
        np.testing.assert_array_equal(form(q, k[..., :0, :], v[..., :0, :], score=rule), np.zeros((2, 4, 5, 3)))
        np.testing.assert_array_equal(form(q, k, v, mask=masks.first(0), score=rule), np.zeros((2, 4, 5, 3)))


def test_the_compute_dtype_is_kept():
    x = oracle.drawn(5, 9, 9)[0]
    seen = []

    def told(s, i, j, p):
        seen.extend(a.dtype for a in (s, i, j, p))
        return s - p * abs(i - j)

    for dtype, wide in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        a, seen[:] = x.astype(dtype), []
        for p in (np.array(0.5), np.array(0.5, np.float16)):
            assert definitions.attention(a, a, a, score=ScoreRule(told, p)).dtype == dtype
        assert set(seen) == {np.dtype(wide)}
        slope = grad(lambda p, a=a: definitions.attention(a, a, a, score=ScoreRule(told, p)).sum())(np.array(0.5, dtype))
        assert slope.dtype == dtype


def test_the_owner_of_a_parameter_may_change_it_later():
    slope = np.array(0.5)
    given = ScoreRule(lambda s, i, j, p: s - p * abs(i - j), slope)
    slope[...] = np.nan
    assert given.parameters[0] == 0.5


def test_a_rule_is_a_tree_with_its_parameters_as_leaves():
    x = oracle.drawn(6, 4, 4)[0]
    given = ScoreRule(rule, np.array(0.5))
    slope = grad(lambda r: definitions.attention(x, x, x, causal=True, score=r).sum())(given)
    assert slope.function is rule
    want = grad(lambda p: definitions.attention(x, x, x, causal=True, score=ScoreRule(rule, p)).sum())(np.array(0.5))
    np.testing.assert_array_equal(slope.parameters[0], want)


def test_stages_of_scores():
    q, k, _, rng = oracle.drawn(7, 5, 9)
    bias, mask = rng.standard_normal((5, 9)), rng.random((5, 9)) < 0.6
    options = {"softcap": 0.8, "bias": bias, "mask": mask, "causal": True, "score": lambda s, i, j: 2.0 * s - 0.1 * (i - j)}
    products = q @ np.repeat(k, 2, axis=1).mT * 0.5
    capped = 0.8 * np.tanh(products / 0.8)
    far = np.arange(4, 9)[:, None] - np.arange(9)
    biased = 2.0 * capped - 0.1 * far + bias
    for stage, want in (("raw", products), ("capped", capped), ("biased", biased), ("masked", np.where(mask & (far >= 0), biased, -np.inf))):
        np.testing.assert_allclose(definitions.attention_scores(q, k, stage=stage, **options), want, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(definitions.attention_scores(q, k, **options), definitions.attention_scores(q, k, stage="masked", **options))
    k[:, :, 0] = np.nan  # seen by some queries only: -inf for the others all the same
    assert np.isneginf(definitions.attention_scores(q, k, mask=mask)[..., ~mask]).all()
    with pytest.raises(ValueError, match="stage: expected one of raw, capped, biased, masked, got 'bias'"):
        definitions.attention_scores(q, k, stage="bias")
    with pytest.raises(TypeError, match="unexpected keyword 'sinks'"):
        definitions.attention_scores(q, k, sinks=np.zeros(4))


CACHES = {"growing": caches.GrowingCache, "fixed": partial(caches.FixedCache, 16), "ring": partial(caches.RingCache, 12),
          "first and last": partial(caches.RingCache, 12, keep_first=2), "paged": lambda: caches.PagePool(32, 2).sequence(),
          "evicting": partial(caches.EvictingCache, caches.HeavyHitters(12, 12)), "batch": caches.BatchCache,
          "in codes": partial(caches.QuantizedCache, group=4, residual=2)}
RULES = {"plain": lambda n: rule, "per head": lambda n: ScoreRule(rule, np.linspace(0.1, 0.4, 4)[:, None, None]),
         "per sequence": lambda n: ScoreRule(rule, np.linspace(0.1, 0.4, 8).reshape(2, 4, 1, 1)),
         "per key": lambda n: ScoreRule(rule, np.linspace(0.1, 0.4, 11)[:n])}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("name", CACHES)
def test_rules_through_caches(name, kind):
    q, k, v, _ = oracle.drawn(8, 11, 11)
    cache, outs = CACHES[name](), []
    refused = kind == "per key" and name in ("evicting", "batch")
    if refused:
        with pytest.raises(ValueError, match="score: .* no parameter per query or key"):
            cache.step(q, k, v, score=RULES[kind](11))
        return
    for start, stop in ((0, 4), (4, 5), (5, 11)):
        outs.append(cache.step(*(x[..., start:stop, :] for x in (q, k, v)), score=RULES[kind](stop)))
    held = k, v
    if name == "in codes":
        held = cache.view()[:2]
        outs, q = outs[-1:], q[..., -1:, :]
        outs[0] = outs[0][..., -1:, :]
    want = definitions.attention(q, *held, causal=True, score=RULES[kind](11))
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), want, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(cache.attend(q[..., -1:, :], score=RULES[kind](11)), want[..., -1:, :], rtol=1e-13, atol=1e-14)


def stored(s, i, j):
    s += 1.0
    return s


def placed(s, i, j):
    i[...] = 0.0
    return s


BAD = [
    (3, TypeError, "score: expected a function rule"), (np.ones(3), TypeError, "score: expected a function rule"),
    (lambda s, i: s, TypeError, r"score: expected a rule that takes s, i, j and 0 parameters, got one that takes \(s, i\)"),
    (lambda s, i, j, p: s, TypeError, "score: expected a rule that takes s, i, j and 0 parameters"),
    (lambda s, i, j: s[..., :1], ValueError, r"score: expected the rule to return the shape of s, \(2, 4, 5, 9\), got shape \(2, 4, 5, 1\)"),
    (lambda s, i, j: s.sum(axis=-1), ValueError, "score: expected the rule to return the shape"),
    (lambda s, i, j: 0.0, TypeError, "score: what the rule returns: expected"), (lambda s, i, j: None, TypeError, "score: what the rule returns"),
    (lambda s, i, j: s > 0, TypeError, "score: what the rule returns: expected a float.*bool"),
    (lambda s, i, j: s.astype(np.float32), TypeError, "score: expected the rule to return the dtype of s, float64, got float32"),
    (stored, TypeError, "score: the rule writes into an array"), (placed, TypeError, "score: the rule writes into an array"),
]
BAD_PARAMETERS = [
    (np.ones(3), ValueError, r"score parameter 1: expected a shape that broadcasts to .* got shape \(3,\)"),
    (np.ones(9, int), TypeError, "score parameter 1: expected a float.*int64"), (1.0, TypeError, "score parameter 1: expected a float.*float"),
    ([1.0], TypeError, "score parameter 1: expected"), (np.array(np.nan), ValueError, "score parameter 1: expected numbers, got NaN"),
    (np.ones((3, 1, 1, 1, 1)), ValueError, "score parameter 1: expected a shape"), (Tensor(np.array(np.nan)), ValueError, "score parameter 1"),
]


@pytest.mark.parametrize("form", ["attention", "with_lse", "weights", "streaming", "grouped", "fastest"])
def test_what_is_no_rule_is_refused_by_name(form):
    q, k, v, _ = oracle.drawn(9, 5, 9)
    for bad, error, words in BAD:
        # The streaming form calls the rule with a part of the keys, and the fastest one refuses first what it cannot trace.
        kind = (TypeError, ValueError) if form == "fastest" else error
        said = "^score: " if form == "fastest" else words.replace("5, 9", "5, 9" if form != "streaming" else r"5, \d+")
        with pytest.raises(kind, match=said):
            FORMS[form](q, k, v, score=bad)
    for bad, error, words in BAD_PARAMETERS:
        with pytest.raises(error, match=words):
            FORMS[form](q, k, v, score=ScoreRule(lambda s, i, j, p: s * p, bad))
    with pytest.raises(TypeError, match="score: expected a rule that takes s, i, j and 2 parameters"):
        ScoreRule(lambda s, i, j, p: s, np.ones(1), np.ones(1))
    np.testing.assert_allclose(FORMS[form](q, k, v, score=lambda s, i, j: s), FORMS[form](q, k, v), rtol=1e-14)


def test_a_ring_without_its_keys_and_a_state_say_what_they_take():
    q, k, v, _ = oracle.drawn(10, 5, 5)
    with pytest.raises(TypeError, match="unexpected option 'score'"):
        caches.StateCache().step(q, k, v, score=rule)
    short, full = caches.RingCache(3), definitions.attention(q, k, v, causal=True, window=(2, None), score=rule)
    np.testing.assert_allclose(short.step(q, k, v, score=rule), full, rtol=1e-12)


def test_a_batch_of_sequences_is_not_cut_where_a_rule_tells_them_apart(monkeypatch):
    monkeypatch.setattr(in_numpy, "PART_BYTES", 64)
    q, k, v, _ = oracle.drawn(11, 5, 9)
    given = ScoreRule(lambda s, i, j, p: s * p, np.array([0.5, 2.0])[:, None, None, None])
    np.testing.assert_array_equal(fastest.attention(q, k, v, score=given), definitions.attention(q, k, v, score=given))
