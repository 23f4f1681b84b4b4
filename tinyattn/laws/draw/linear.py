"""Problems of linear attention, with features of every kind."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import one_of, with_options
from tinyattn.laws.draw.sizes import at_least, both, square
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes, arrays
from tinyattn.ops.draws import performer_projection
from tinyattn.ops.types import Array


def linear(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a problem that is causal or not and normalised or not, with no more queries than keys, not too spiky for elu + 1."""
    sizes = at_least(q_len=1)(replace(sizes, q_len=min(sizes.q_len, sizes.kv_len),
                                      regime="plain" if sizes.regime in ("spiky", "offset", "flat") else sizes.regime))
    options = {"causal": bool(rng.random() < 0.6), "normalize": bool(rng.random() < 0.6)}
    return arrays(rng, sizes, **options)


def always(**given: Any) -> Draw:
    """Returns the drawing with these options set and as many queries as keys."""
    return lambda rng, sizes: linear(rng, both(at_least(kv_len=4), square)(sizes)).but(**given)


def positive(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws features that are given as they are, all of them positive."""
    p = linear(rng, sizes).but(feature_map=None, normalize=True)
    return p.but(q=np.abs(p.q) + 0.1, k=np.abs(p.k) + 0.1)


def few_directions(rng: np.random.Generator, p: Problem) -> Array:
    """Draws random directions, few or many."""
    return rng.standard_normal((int(rng.choice((1, 4, 9))), p.q.shape[-1])).astype(p.q.dtype)


@lru_cache(maxsize=1024)
def directions(head_dim: int, features: int, seed: int) -> Array:
    """Returns one drawing of Performer's directions, always the same for one seed."""
    return performer_projection(np.random.default_rng(seed), features, head_dim)


NEAR = with_options(linear, max_length=one_of(16, 100))
AWAY = with_options(NEAR, start=one_of(0, 5))
DIRECTED = with_options(linear, projection=few_directions)
