"""Gradients of a kernel's own backward pass compared with those of the definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import Outputs, anywhere, growing, sufficient
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array
from tinyattn.testing.compare import explain

Backward = Callable[[Problem, Array], Mapping[str, Array]]
NAMES = ("q", "k", "v")


def assert_gradients_within_budget(backward: Backward, problem: Problem, d_out: Array, *, honest: Mechanism,
                                   rng: np.random.Generator) -> None:
    """Passes silently if `backward(problem, d_out) -> {"q": d_q, "k": d_k, "v": d_v}` gives the definition's gradients.

    No finite differences are taken, so that the kernel need not support float64.

    Raises:
        AssertionError: they are not within the budget; it names the worst place, both values and the error in budgets.

    >>> from tinyattn.definitions import attention
    >>> from tinyattn.laws.problem import Sizes, arrays
    >>> rng = np.random.default_rng(0)
    >>> problem, d_out = arrays(rng, Sizes()), rng.standard_normal((1, 4, 5, 3))
    >>> def backward(problem, d_out):
    ...     arrays = {name: getattr(problem, name) for name in "qkv"}
    ...     return vjp(lambda t: problem.but(**t).call(attention), arrays)[1](d_out)
    >>> assert_gradients_within_budget(backward, problem, d_out, honest=attention, rng=rng)
    """
    def side(f: Mechanism, p: Problem) -> Outputs:
        _, pullback = vjp(lambda t: p.but(**t).call(f), {name: getattr(p, name) for name in NAMES})
        return tuple(pullback(d_out.astype(p.q.dtype)).values())

    given = backward(problem, d_out.astype(problem.q.dtype))
    missing = [name for name in NAMES if name not in given]
    if missing:
        raise AssertionError(f"backward: no gradient of {', '.join(missing)}")
    got = tuple(np.asarray(given[name]) for name in NAMES)
    budget = sufficient(growing((side,), honest, problem, rng, reorder=False, pool=anywhere), got)
    explain(budget, got, tuple(f"d_{name}" for name in NAMES))
