"""A law: two ways to compute the same thing, the problems to compare them on, and a sentence that says what holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyattn.laws.budget import Budget, Outputs, Side, Terms, growing, per_row, sufficient
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.ops.types import Array

Draw = Callable[[np.random.Generator, Sizes], Problem]


@dataclass(frozen=True, eq=False)
class Law:
    """What must hold for a mechanism f(q, k, v, **options), as a value.

    `left(f, problem)` and `right(f, problem)` give tuples of arrays that must be equal: bit for bit if `exact`, else
    within the budget that is measured on the problem. `says` is the law as a sentence. `reorder` says that the outputs do
    not depend on the order of the keys, so that the budget may try several orders. `pool` says over which numbers the
    largest error is taken, and `terms` gives the sizes of terms that may cancel. `rounded_as` are other right ways to compute
    the mechanism, which round in other places: what they round counts too. `to` names another mechanism if the law compares
    with it, and `kind` says how: exact, approximate (the error falls as something grows), or in distribution (an average
    over draws).

    >>> from tinyattn.definitions import attention
    >>> from tinyattn.laws import SOFTMAX_LAWS, check
    >>> law = next(law for law in SOFTMAX_LAWS if law.name == "keys_may_shift")
    >>> check(law, attention, honest=attention, rng=np.random.default_rng(0), examples=2).holds
    True
    """

    name: str
    says: str
    draw: Draw
    left: Side
    right: Side
    exact: bool = False
    reorder: bool = False
    pool: Callable[[Array], Array] = per_row
    to: str | None = None
    kind: str = "exact"
    terms: Terms | None = None
    rounded_as: tuple[Mechanism, ...] = ()

    def fitted(self, fit: Callable[[Sizes], Sizes]) -> Law:
        """Returns the law on sizes that a mechanism takes, for example with one kv head."""
        return replace(self, draw=lambda rng, sizes: self.draw(rng, fit(sizes)))


@dataclass(frozen=True, eq=False)
class Verdict:
    """The result of one problem: the worst error in budgets (above 1 the law is violated), and the problem."""

    spent: float
    problem: Problem
    budget: Budget | None = None

    @property
    def holds(self) -> bool:
        """Whether the error is within the budget."""
        return self.spent <= 1.0


def judge(law: Law, mechanism: Mechanism, problem: Problem, *, honest: Mechanism,
          rng: np.random.Generator) -> Verdict:
    """Returns the verdict on one problem; the rounding of `honest`, the definition, sets the budget.

    The measurement of the budget stops as soon as the error fits; a law is called violated only after a full one.

    >>> from tinyattn.definitions import attention
    >>> from tinyattn.laws import SOFTMAX_LAWS
    >>> rng, law = np.random.default_rng(0), SOFTMAX_LAWS[0]
    >>> judge(law, attention, law.draw(rng, Sizes()), honest=attention, rng=rng).holds
    True
    """
    got = tuple(np.asarray(out) for out in law.left(mechanism, problem))
    other = tuple(np.asarray(out) for out in law.right(mechanism, problem))
    if law.exact:
        return Verdict(0.0 if same_bits(got, other) else float("inf"), problem)
    sides = (law.left, law.right, *(instead(law.left, way) for way in law.rounded_as))
    budget = sufficient(growing(sides, honest, problem, rng, reorder=law.reorder, pool=law.pool, terms=law.terms), got, other)
    return Verdict(budget.spent(got, other), problem, budget)


def instead(side: Side, way: Mechanism) -> Side:
    """Returns the side computed in another way than by the mechanism that it is given."""
    return lambda _f, p: side(way, p)


def same_bits(a: Outputs, b: Outputs) -> bool:
    """Returns whether two tuples of arrays have the same shapes, dtypes and bits."""
    return len(a) == len(b) and all(
        x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def outputs(out: Any) -> Outputs:
    """Returns the result of a mechanism as a flat tuple of arrays, those of a state included."""
    if not isinstance(out, tuple):
        return (out,)
    return tuple(array for part in out for array in outputs(part))


def plain(f: Mechanism, p: Problem) -> Outputs:
    """Returns what the mechanism gives for the problem."""
    return outputs(p.call(f))


def unchanged(name: str, says: str, draw: Draw, change: Callable[[Problem], Problem], **more: Any) -> Law:
    """Returns the law that a mechanism gives the same for a problem and for the changed problem.

    >>> from tinyattn.laws.draw import softmax
    >>> unchanged("keys_may_shift", "Adding one vector to all keys changes nothing.", softmax(), lambda p: p.but(k=p.k + 0.5)).exact
    False
    """
    def changed(f: Mechanism, p: Problem) -> Outputs:
        return plain(f, change(p))

    changed.__module__ = change.__module__  # the page of laws groups them by the file in which their sides are written
    return Law(name, says, draw, plain, changed, **more)
