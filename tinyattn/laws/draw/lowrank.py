"""Problems of attention through projections of the keys and through landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tinyattn.laws.draw.sizes import at_least, both, ordinary
from tinyattn.laws.draw.softmax import softmax
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.types import Array

SOME = at_least(q_len=1, kv_len=2)


def projections(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a problem with random projections of one rank, shared by all heads or one per head."""
    p = softmax("scale", fit=both(SOME, ordinary))(rng, sizes)
    heads = () if rng.random() < 0.5 else (p.k.shape[-3],)
    shape = (*heads, int(rng.integers(1, 5)), p.k.shape[-2])
    return p.but(project_k=rng.standard_normal(shape), project_v=rng.standard_normal(shape)).astype(sizes.dtype)


def shared_projections(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws the same with one projection for all heads."""
    p = projections(rng, sizes)
    return p.but(**{name: p.options[name][-1] for name in ("project_k", "project_v") if p.options[name].ndim == 3})


def with_projection(make: Callable[[int], Array]) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that gives keys and values the same projection, made for their length."""
    def change(p: Problem) -> Problem:
        e = make(p.k.shape[-2]).astype(p.q.dtype)
        return p.but(project_k=e, project_v=e)

    return change


def every_second(length: int) -> Array:
    """Returns rows of 0 and 1 that pick every second token."""
    return np.eye(length)[::2]


def segmented(*choices: int) -> Draw:
    """Returns the drawing of problems whose number of landmarks, one of these, divides both lengths."""
    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        count = int(rng.choice(choices))
        q_len, kv_len = (count * int(n) for n in rng.integers(1, 4, 2))
        sizes = replace(ordinary(sizes), q_len=q_len, kv_len=kv_len, head_dim=max(sizes.head_dim, 4))
        return softmax("scale")(rng, sizes).but(landmarks=count)

    return draw


def separated(p: Problem) -> Problem:
    """Returns the problem with one large channel per segment: A is then well-conditioned, and a few iterations invert it."""
    def marked(x: Array) -> Array:
        segment = np.arange(x.shape[-2]) * p.options["landmarks"] // x.shape[-2]
        return (0.5 * x + 4.0 * np.eye(x.shape[-1])[segment]).astype(x.dtype)

    return p.but(q=marked(p.q), k=marked(p.k), scale=None, iterations=6)


def one_landmark_per_token(p: Problem) -> Problem:
    """Returns the problem with as many tokens as landmarks."""
    few = slice(p.options["landmarks"])
    return separated(p.but(q=p.q[..., few, :], k=p.k[..., few, :], v=p.v[..., few, :]))


def reversed_within_segments(p: Problem) -> Problem:
    """Returns the problem with keys and values in reverse order within every segment."""
    count, length = p.options["landmarks"], p.k.shape[-2]
    order = np.arange(length).reshape(count, length // count)[:, ::-1].reshape(-1)
    return p.but(k=p.k[..., order, :], v=p.v[..., order, :])


LANDMARKS = segmented(1, 2, 3)
