"""The tools for other people's kernels: they accept right results, and name the place of a wrong one."""

import numpy as np
import pytest
from hypothesis import find, given

from tinyattn.definitions import attention, attention_with_lse, streaming_attention
from tinyattn.engine import vjp
from tinyattn.laws.problem import Sizes, arrays
from tinyattn.testing import assert_gradients_within_budget, assert_within_budget
from tinyattn.testing.strategies import lengths, problems

RNG = np.random.default_rng
PROBLEM = arrays(RNG(0), Sizes(), causal=True)


@given(problem=problems(edges=(4,)))
def test_another_form_is_within_the_budget_of_any_drawn_problem(problem):
    assert_within_budget(lambda q, k, v, **o: streaming_attention(q, k, v, block=4, **o), problem, honest=attention, rng=RNG(0))


def test_a_wrong_output_is_named_by_its_place():
    def wrong(q, k, v, **o):
        out = attention(q, k, v, **o)
        out[0, 2, 3, 1] += 1e-9
        return out

    with pytest.raises(AssertionError, match=r"out\[0, 2, 3, 1\]: expected .* budgets off; 1 of 60"):
        assert_within_budget(wrong, PROBLEM, honest=attention, rng=RNG(0))
    with pytest.raises(AssertionError, match=r"out: expected shape \(1, 4, 5, 3\), got \(1, 4, 5, 2\)"):
        assert_within_budget(lambda *a, **o: attention(*a, **o)[..., :2], PROBLEM, honest=attention, rng=RNG(0))
    with pytest.raises(AssertionError, match="expected 2 outputs, got 1"):
        assert_within_budget(attention, PROBLEM, honest=attention_with_lse, rng=RNG(0))
    with pytest.raises(AssertionError, match=r"lse\[.*inf budgets off"):
        assert_within_budget(lambda *a, **o: (attention(*a, **o), np.full(PROBLEM.q.shape[:-1], np.nan)), PROBLEM,
                             honest=attention_with_lse, rng=RNG(0))


def test_gradients_of_a_backward_are_compared():
    def backward(p, d_out):
        out, pullback = vjp(lambda t: p.but(**t).call(streaming_attention), {"q": p.q, "k": p.k, "v": p.v})
        return pullback(d_out)

    d_out = np.cos(np.arange(60.0)).reshape(1, 4, 5, 3)
    for problem in (PROBLEM, PROBLEM.astype(np.float32)):
        assert_gradients_within_budget(backward, problem, d_out, honest=attention, rng=RNG(0))
        with pytest.raises(AssertionError, match=r"d_k\["):
            assert_gradients_within_budget(lambda p, d: {**backward(p, d), "k": 1.001 * backward(p, d)["k"]}, problem, d_out,
                                           honest=attention, rng=RNG(0))
    with pytest.raises(AssertionError, match="no gradient of v"):
        assert_gradients_within_budget(lambda p, d: {"q": d, "k": d}, PROBLEM, d_out, honest=attention, rng=RNG(0))


def test_a_failure_shrinks_to_a_few_tokens():
    def is_wrong(p):
        return p.q.size > 0 and not np.allclose(p.call(attention), p.but(scale=0.9 * p.q.shape[-1] ** -0.5).call(attention))

    least = find(problems(options=()), is_wrong)
    assert least.q.shape[-2] == 1
    assert least.k.shape[-2] <= 2
    assert least.v.shape[-1] == 1


def test_lengths_straddle_the_edges():
    for n in (0, 1, 63, 64, 65):
        assert find(lengths((64,)), lambda x, n=n: x == n) == n
