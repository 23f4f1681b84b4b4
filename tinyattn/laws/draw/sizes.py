"""Sizes of problems: drawn from 0 and 1 upward, and changed to those that a mechanism or a law takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from tinyattn.laws.budget import FEW
from tinyattn.laws.problem import REGIMES, Sizes

Fit = Callable[[Sizes], Sizes]


def draw_sizes(rng: np.random.Generator, *, dtype: str = "float64") -> Sizes:
    """Returns sizes on both sides of 0, of 1 and of each other: equal axes, more queries than keys, odd lengths."""
    q_len, kv_len = int(rng.choice([0, 1, 2, 4, 5, 8])), int(rng.choice([1, 2, 4, 7, 8, 13]))
    return Sizes(leading=((), (1,), (2,), (4,), (2, 2))[int(rng.integers(5))], kv_heads=int(rng.choice([1, 2, 3])),
                 groups=int(rng.choice([1, 2, 4])), q_len=q_len, kv_len=kv_len, head_dim=int(rng.choice([1, 2, 4, 8])),
                 value_dim=int(rng.choice([1, 3, 4])), regime=str(rng.choice(REGIMES)), dtype=dtype)


def at_least(**least: int) -> Fit:
    """Returns the change that raises each of these sizes to at least the number given."""
    return lambda sizes: replace(sizes, **{name: max(getattr(sizes, name), n) for name, n in least.items()})


def fixed(**given: Any) -> Fit:
    """Returns the change that sets these sizes."""
    return lambda sizes: replace(sizes, **given)


def both(*fits: Fit) -> Fit:
    """Returns the change that applies these changes one after the other."""
    return lambda sizes: reduce(lambda changed, fit: fit(changed), fits, sizes)


def square(sizes: Sizes) -> Sizes:
    """Returns the sizes with as many queries as keys."""
    return replace(sizes, q_len=sizes.kv_len)


def at_most_keys(sizes: Sizes) -> Sizes:
    """Returns the sizes with no more queries than keys."""
    return replace(sizes, q_len=min(sizes.q_len, sizes.kv_len))


def even(sizes: Sizes) -> Sizes:
    """Returns the sizes with an even head_dim."""
    return replace(sizes, head_dim=2 * ((sizes.head_dim + 1) // 2))


def ordinary(sizes: Sizes) -> Sizes:
    """Returns the sizes with numbers that are neither tiny nor huge, and at least two channels."""
    return replace(sizes, regime="plain", head_dim=max(sizes.head_dim, 2))


def shared_heads(sizes: Sizes) -> Sizes:
    """Returns the sizes with at least two kv heads, two query heads on each of them, and a query."""
    return replace(sizes, kv_heads=max(sizes.kv_heads, 2), groups=max(sizes.groups, 2), q_len=max(sizes.q_len, 1))


def few_heads(sizes: Sizes) -> Sizes:
    """Returns the sizes with few sequences and heads, for mechanisms that compute each of them alone."""
    few = {name: min(getattr(sizes, name), 2) for name in ("kv_heads", "groups")}
    return replace(sizes, leading=tuple(min(n, 2) for n in sizes.leading[:1]), **few)


def few_rows(sizes: Sizes) -> Sizes:
    """Returns sizes whose pairs can be visited one by one, with no more queries than keys.

    The fewer rows there are, the wider the values are: a budget is measured on enough numbers even if half of them are 0.
    """
    few = few_heads(replace(sizes, q_len=max(1, min(sizes.q_len, sizes.kv_len))))
    return replace(few, value_dim=max(few.value_dim, -(-2 * FEW // (math.prod(few.leading) * few.heads * few.q_len))))


def few_rows_own_heads(sizes: Sizes) -> Sizes:
    """Returns the sizes with few rows, as many queries as keys, and one kv head per query head."""
    return square(replace(few_rows(sizes), groups=1))


def four_tokens(sizes: Sizes) -> Sizes:
    """Returns sizes of a problem whose gradients are not 0: four tokens, each of which may see others."""
    return replace(sizes, leading=(), kv_heads=2, groups=2, q_len=4, kv_len=4, head_dim=4, regime="plain")


def multiple_of_three(sizes: Sizes) -> Sizes:
    """Returns the sizes with equal lengths that are a multiple of three."""
    return square(replace(sizes, kv_len=3 * -(-sizes.kv_len // 3)))


def at_least_seven(sizes: Sizes) -> Sizes:
    """Returns the sizes with at least seven keys, so that a query may choose among more than those that it must read."""
    more = max(0, 7 - sizes.kv_len)
    return replace(sizes, q_len=sizes.q_len + more, kv_len=sizes.kv_len + more)


def groups_of_four(sizes: Sizes) -> Sizes:
    """Returns the sizes with a length of at least two groups of four, and two heads that have their own keys."""
    return square(replace(sizes, kv_len=4 * max(2, sizes.kv_len // 4), kv_heads=2, groups=1))
