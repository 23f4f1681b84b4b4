"""Problems of recurrences that read by solving, or by levels: ridges, level scales, and their limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyattn.laws.draw.linear import BOTH, SCALAR, orthonormal
from tinyattn.laws.draw.options import uniform, with_options
from tinyattn.laws.problem import Problem
from tinyattn.ops.levels import levels_of
from tinyattn.ops.types import Array

MESA = with_options(BOTH, ridge=uniform(lambda p: (p.k.shape[-3], p.k.shape[-1]), 0.5))


def levels(rng: np.random.Generator, p: Problem) -> Array:
    """Draws the scales of one level more than the tokens of a problem and one more token have."""
    return rng.random((*p.k.shape[:-1], levels_of(p.k.shape[-2] + 1) + 1)).astype(p.q.dtype)


LEVELS = with_options(SCALAR, level_scales=levels)
# The same ridge for all channels, so large that the keys beside it are less than rounding in float64.
LARGE = 2.0 ** 60


def large_ridge(p: Problem) -> Problem:
    """Returns the problem with the ridge `LARGE`."""
    return p.but(ridge=np.full_like(p.options["ridge"], LARGE))


def orthonormal_and_kept(p: Problem) -> Problem:
    """Returns the problem with orthonormal keys, which neither decay nor are weighed, and a ridge of 3 in every channel."""
    p = orthonormal(p)
    zeros = np.zeros_like(p.options["log_decay"])
    return p.but(log_decay=zeros, beta=zeros + 1, ridge=np.full_like(p.options["ridge"], 3.0))


def scales_of(*first: float, rest: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that gives its first levels these scales, and all later ones `rest`."""
    def change(p: Problem) -> Problem:
        given = np.full_like(p.options["level_scales"], rest)
        given[..., : len(first)] = first[: given.shape[-1]]
        return p.but(level_scales=given)

    return change
