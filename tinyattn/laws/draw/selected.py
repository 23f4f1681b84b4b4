"""Problems of attention to keys that the queries choose: by score, by hash, by the means of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import but, on, one_of, with_options
from tinyattn.laws.draw.sizes import at_least, at_least_seven, both, few_rows, few_rows_own_heads
from tinyattn.laws.draw.softmax import softmax
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.draws import lsh_rotations
from tinyattn.ops.types import Array


def eighths(p: Problem) -> Problem:
    """Returns the problem with queries and keys in whole eighths and a scale that is a power of two, so that scores are exact.

    Two scores that are equal in theory and differ by a rounding would be chosen by one form and not by the other.
    """
    return p.but(q=np.round(8.0 * p.q) / 8.0, k=np.round(8.0 * p.k) / 8.0, scale=p.options.get("scale", 0.5))


def choosing(*names: str, **make: Any) -> Draw:
    """Returns the drawing of problems whose scores are exact, with these options."""
    return with_options(but(softmax("scale", *names, fit=both(few_rows, at_least(head_dim=2))), eighths), **make)


def three_gates(rng: np.random.Generator, p: Problem) -> Array:
    """Draws three numbers between 0 and 1 per query and head."""
    return rng.random((*p.q.shape[:-1], 3)).astype(p.q.dtype)


def rotations(hashes: int) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns a maker of the rotations of so many hashes with four buckets each."""
    return lambda rng, p: lsh_rotations(rng, hashes, p.q.shape[-1], 4).astype(p.q.dtype)


TOP = choosing("causal", keep=one_of(1, 2, 3, 5))
NATIVE = on(choosing(gates=three_gates, block=one_of(1, 1, 2, 4), selected=one_of(1, 3, 4, 5), window=one_of(1, 2, 4)), at_least_seven)
MIXTURE = choosing(block=one_of(1, 2, 4), keep=one_of(1, 2, 3))
HASHED = with_options(softmax("scale", "causal", fit=few_rows_own_heads), rotations=rotations(2), chunk=one_of(1, 2, 3, 13))


def texts(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws one of four texts of 24 tokens, each the same whenever it is drawn."""
    chunk = int(rng.integers(4, 8))
    draw = np.random.default_rng(chunk)
    q, v = draw.standard_normal((1, 2, 24, 4)), draw.standard_normal((1, 2, 24, 3))
    return Problem(q, q, v, {"chunk": chunk, "rotations": q})


def with_gates(*values: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that gives every query these three gates."""
    return lambda p: p.but(gates=np.zeros_like(p.options["gates"]) + np.asarray(values, p.q.dtype))


def own_key_best(p: Problem) -> Problem:
    """Returns the problem with keys of length 1 that are their own queries: no key scores above the query's own."""
    k = p.k + 0.1 * np.cos(np.arange(p.k.size)).reshape(p.k.shape).astype(p.k.dtype)  # no two alike
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    own = np.repeat(k, p.q.shape[-3] // k.shape[-3], axis=-3)[..., k.shape[-2] - p.q.shape[-2] :, :]
    return p.but(q=own, k=k, block=1)
