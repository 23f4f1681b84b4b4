"""A rule is traced again unless it is provably the one that was traced: its code, and all numbers and functions that it reads."""

import math
import random
from functools import partial

import numpy as np
import pytest

from tinyattn import definitions, kernels
from tinyattn.kernels.rules import tracer
from tinyattn.kernels.rules.same import identity
from tinyattn.ops import ScoreRule

SLOPE, TABLE, SCALES = 0.5, [0.5], {"slope": 0.5}
RNG = np.random.default_rng


def helper(s):
    return s * SLOPE


def global_number(s, i, j):
    return s - SLOPE * (i - j)


def global_list(s, i, j):
    return s - TABLE[0] * (i - j)


def global_dict(s, i, j):
    return s - SCALES["slope"] * (i - j)


def by_helper(s, i, j):
    return helper(s) - (i - j)


def with_attribute(s, i, j):
    return s - with_attribute.slope * (i - j)


def of_helper(s, i, j):
    return s * helped.slope


def helped(s):
    return s


def imports(s, i, j):
    import math as inside

    return s * inside.pi


def draws(s, i, j):
    return s * np.random.default_rng().random()


def draws_by_itself(s, i, j):
    return s * random.random()


def looks_around(s, i, j):
    return s * looks_around.__globals__["SLOPE"]


def writes(s, i, j):
    global WRITTEN
    WRITTEN = s
    return s


def usual(s, i, j, slopes):
    near = np.where(np.abs(i - j) < 3.0, s, -np.inf)
    return np.clip(near, -math.pi, float(2)) - slopes * max(SLOPE, 0.25) + sum([x * 0.5 for x in (s, i)])


def counting(calls=None):
    count = 0

    def rule(s, i, j):
        nonlocal count
        count += 1
        return s * float(count)

    return rule


class Slope:
    slope = 0.5

    def __call__(self, s, i, j):
        return s - self.slope * (i - j)


UNKNOWN = {
    "list": global_list, "dict": global_dict, "attribute": with_attribute, "attribute of a helper": of_helper, "import": imports, "random numbers": draws, "a module": draws_by_itself,
    "its globals": looks_around, "a global": writes, "a count": counting(), "an object": Slope(), "a method": Slope().__call__,
    "partial": partial(lambda s, i, j, slope: s * slope, slope=0.5), "array": lambda s, i, j, x=np.ones(()): s * x,
    "tuple of a list": lambda s, i, j, x=(TABLE,): s * x[0][0], "a class": lambda s, i, j: s * Slope.slope, "a name without value": lambda s, i, j: s * nothing,  # noqa: F821
}
with_attribute.slope = helped.slope = 0.5


@pytest.mark.parametrize("name", UNKNOWN)
def test_nothing_is_claimed_of_a_rule_that_reads_what_can_change(name):
    assert identity(UNKNOWN[name]) is None


def test_what_a_usual_rule_reads_is_known():
    assert identity(usual) is not None and identity(usual) == identity(usual)
    assert identity(by_helper) is not None


def made(slope, inner=None):
    """Returns rules that differ in nothing but a number."""
    def default(s, i, j, slope=slope):
        return s * slope

    def keyword(s, i, j, *, slope=slope):
        return s * slope

    def closed(s, i, j):
        return s * slope

    def nested(s, i, j):
        return (lambda x: x * slope)(s)

    def by_other(s, i, j):
        return default(s, i, j)

    def in_tuple(s, i, j, pair=(1.0, slope)):
        return s * pair[1]

    return default, keyword, closed, nested, by_other, in_tuple


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("other", [0.25, -0.0, 1, True, np.float32(0.0), np.float64(0.0)], ids=repr)
def test_rules_with_other_numbers_are_others(n, other):
    first, same, changed = made(0.0)[n], made(0.0)[n], made(other)[n]
    assert first is not same and identity(first) == identity(same) is not None
    assert identity(changed) is not None and identity(changed) != identity(first)


@pytest.mark.parametrize(("name", "value"), [("SLOPE", 0.25), ("helper", lambda s: s), ("abs", lambda x: x), ("np", math), ("SLOPE", [1.0])])
def test_a_name_that_gets_another_value_makes_another_rule(name, value, monkeypatch):
    rule = {"helper": by_helper, "np": usual, "abs": lambda s, i, j: s - abs(i - j)}.get(name, global_number)
    before = identity(rule)
    monkeypatch.setitem(globals(), name, value)
    assert before is not None and identity(rule) != before


def test_a_numpy_function_that_is_replaced_makes_another_rule(monkeypatch):
    before = identity(usual)
    monkeypatch.setattr(np, "abs", np.negative)
    assert identity(usual) not in (None, before)
    monkeypatch.setattr(np, "abs", lambda x: x)
    assert identity(usual) is None


@pytest.mark.parametrize("q_len", [2, 70])
def test_a_call_gives_what_the_rule_gives_now(q_len, monkeypatch):
    q, k, v = (RNG(n).standard_normal((2, n_len, 16)) for n, n_len in enumerate((q_len, 150, 150)))
    for slope in (0.5, 0.1, 0.5, 0.3):
        monkeypatch.setitem(globals(), "SLOPE", slope)
        monkeypatch.setitem(SCALES, "slope", 2.0 * slope)
        for rule in (global_number, global_dict, by_helper, ScoreRule(usual, np.full((2, 1, 1), slope))):
            np.testing.assert_allclose(kernels.attention(q, k, v, score=rule), definitions.attention(q, k, v, score=rule), rtol=0, atol=1e-12)


def test_the_same_rule_is_traced_once_for_all_calls_and_forgotten_rules_are_traced_again(monkeypatch):
    monkeypatch.setattr(tracer, "KNOWN", {})
    calls, trace = [], tracer.traced_anew
    monkeypatch.setattr(tracer, "traced_anew", lambda *given: (calls.append(1), trace(*given))[1])
    q, k, v = (RNG(0).standard_normal((2, 150, 16)) for _ in range(3))
    for _ in range(3):
        kernels.attention(q[:, :2], k, v, score=lambda s, i, j: s - 0.125 * (i - j))
    assert len(calls) == 1
    kernels.attention(q[:, :2].astype(np.float32), k.astype(np.float32), v.astype(np.float32), score=lambda s, i, j: s - 0.125 * (i - j))
    assert len(calls) == 2
    for n in range(tracer.MOST):
        tracer.traced(ScoreRule(lambda s, i, j, n=float(n): s * n), np.float64)
    assert len(tracer.KNOWN) <= tracer.MOST


def test_a_rule_that_is_refused_is_refused_every_time():
    x = np.ones((2, 2, 16))
    for _ in range(2):
        with pytest.raises(TypeError, match="branches on data"):
            kernels.attention(x, np.ones((2, 150, 16)), np.ones((2, 150, 16)), score=lambda s, i, j: s if s > 0 else -s)
