"""Problems of attention that scores how tokens relate: cosines, mixtures of heads, tables of distances, directions between tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.draw.grid import image
from tinyattn.laws.draw.options import but, given, normal, on, with_options
from tinyattn.laws.draw.sizes import at_least, at_most_keys, both, ordinary
from tinyattn.laws.draw.softmax import ALL, sloped, softmax, without
from tinyattn.laws.draw.variants import long_vectors
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array

UNSCALED = without(["scale"])


def log_scales(rng: np.random.Generator, p: Problem) -> Array:
    """Draws the log of one scale per head; the first is above the limit half of the time."""
    logs = 2.0 * rng.random(p.q.shape[-3])
    return np.where((np.arange(len(logs)) == 0) & (rng.random() < 0.5), 6.0, logs).astype(p.q.dtype)


def one_scale(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one scale for all heads."""
    return np.full(p.q.shape[-3], 2.0 * rng.random()).astype(p.q.dtype)


def within_the_cap(p: Problem) -> Problem:
    """Returns the problem with scales of at most three caps: where a cap saturates, 1 minus a square keeps no digit of a gradient."""
    cap = p.options.get("softcap")
    return p if cap is None else p.but(log_scale=np.minimum(p.options["log_scale"], np.log(3 * cap)).astype(p.q.dtype))


# Of one channel a cosine is 1 or -1, and rounding leaves it so almost always: a budget would not see when it does not.
TWO_CHANNELS = at_least(head_dim=2)
COSINE = with_options(softmax(*UNSCALED, fit=TWO_CHANNELS), log_scale=log_scales)
COSINE_SLOPES = but(with_options(sloped(*without(["scale", "sinks"])), log_scale=log_scales), within_the_cap, fit=ordinary)
COSINE_CAUSAL = with_options(given(softmax("softcap", "sinks", fit=TWO_CHANNELS), causal=True), log_scale=log_scales)
COSINE_LONG = with_options(but(softmax("causal", "mask", "bias", "window"), lambda p: long_vectors(p).without("scale"), fit=ordinary),
                           log_scale=one_scale)

MIXTURE = normal(lambda p: (p.q.shape[-3],) * 2)


def weak_mixture(rng: np.random.Generator, p: Problem) -> Array:
    """Draws a matrix that leaves mixed scores half as large: where a softmax saturates, the budget of a gradient would be 0."""
    return (0.5 * MIXTURE(rng, p) / np.sqrt(p.q.shape[-3])).astype(p.q.dtype)


TALKING = with_options(softmax(*ALL), before=MIXTURE, after=MIXTURE)
TALKING_SLOPES = on(with_options(sloped(*without(["sinks"])), before=weak_mixture, after=MIXTURE), ordinary)
TALKING_CAUSAL = with_options(given(softmax("scale", "softcap", "sinks"), causal=True), before=MIXTURE, after=MIXTURE)


def unmixed(p: Problem) -> Problem:
    """Returns the problem with matrices that leave every head as it is."""
    same = np.eye(p.q.shape[-3], dtype=p.q.dtype)
    return p.but(before=same, after=same)


def moved_and_back(p: Problem) -> Problem:
    """Returns the problem with a first matrix that moves every head on by one, and a second that moves it back."""
    moved = np.roll(np.eye(p.q.shape[-3], dtype=p.q.dtype), 1, axis=0)
    return p.but(before=moved, after=moved.T)


ALIKE = with_options(softmax("causal", "window", "scale", "softcap"), before=MIXTURE, after=MIXTURE)


def in_a_batch(sizes: Sizes) -> Sizes:
    """Returns the sizes with an axis before the heads: without one, vectors (heads, d) look like one number per token."""
    return replace(sizes, leading=sizes.leading or (1,))


def distances(short: bool | None = None) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns a maker of a table of distances; a causal problem gets one that ends at the distance 0, always or half of the time."""
    def make(rng: np.random.Generator, p: Problem) -> Array:
        ends = p.options.get("causal", False) and (rng.random() < 0.5 if short is None else short)
        rows = p.k.shape[-2] if ends else max(0, p.q.shape[-2] + p.k.shape[-2] - 1)
        return rng.standard_normal((p.q.shape[-3], rows, p.q.shape[-1])).astype(p.q.dtype)

    return make


VECTOR = normal(lambda p: (p.q.shape[-3], p.q.shape[-1]))
RELATIVE = with_options(softmax(*ALL, fit=in_a_batch), relative=distances(), u=VECTOR, w=VECTOR)
RELATIVE_SLOPES = on(with_options(sloped(*without(["sinks"])), relative=distances(), u=VECTOR, w=VECTOR), both(ordinary, in_a_batch))
RELATIVE_CAUSAL = with_options(given(softmax("scale", "softcap", "sinks", fit=in_a_batch), causal=True), relative=distances(True),
                               u=VECTOR, w=VECTOR)
RELATIVE_WHOLE = with_options(given(softmax("scale", "bias", "mask", fit=in_a_batch), causal=True), relative=distances(False),
                              u=VECTOR, w=VECTOR)


def without_distances(p: Problem) -> Problem:
    """Returns the problem with a table of zeros, and without the vector that is added to the queries of keys."""
    return p.but(relative=np.zeros_like(p.options["relative"]), u=np.zeros_like(p.options["u"]))


BOTH = ("q_relative", "k_relative")


def with_tables(draw: Draw, *names: str) -> Draw:
    """Returns the drawing with distances clipped to a span and these tables, or without names with both or one of them."""
    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        p, rows = draw(rng, sizes), 2 * int(rng.choice((1, 2, 4)))
        q_len, kv_len = p.full()[-2:]
        behind = np.arange(kv_len - q_len, kv_len)[:, None] - np.arange(kv_len)
        kept = names or (BOTH, BOTH, BOTH[:1], BOTH[1:])[int(rng.integers(4))]
        tables = {name: rng.standard_normal((p.q.shape[-3], rows, p.q.shape[-1])).astype(p.q.dtype) for name in kept}
        return p.but(distance=np.clip(behind + rows // 2, 0, rows - 1), **tables)

    return drawn


DISENTANGLED = with_tables(softmax(*ALL))
DISENTANGLED_SLOPES = on(with_tables(sloped(*without(["sinks"]))), ordinary)
DISENTANGLED_CAUSAL = with_tables(given(softmax("scale", "softcap", "sinks"), causal=True), *BOTH)
BOTH_TABLES = with_tables(softmax(*without(["scale"])), *BOTH)
ONE_TABLE = with_tables(softmax("causal", "window", "mask", "bias", "softcap", fit=both(in_a_batch, at_least(q_len=1))), "k_relative")


def without_tables(p: Problem) -> Problem:
    """Returns the problem with tables of zeros."""
    return p.but(**{name: np.zeros_like(p.options[name]) for name in BOTH})


def cells(rng: np.random.Generator, sizes: Sizes, grid: tuple[int, int] | None = None) -> Problem:
    """Draws an image with one table for its rows and one for its columns."""
    grid = grid or (int(rng.integers(1, 5)), int(rng.integers(1, 4)))
    p = image(rng, in_a_batch(sizes), grid)
    tables: dict[str, Any] = {name: rng.standard_normal((2 * side - 1, p.q.shape[-1])).astype(p.q.dtype)
                              for name, side in zip(("table_y", "table_x"), grid, strict=True)}
    return p.but(**tables)


def unlike_sides(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws such an image whose sides differ, with ordinary numbers."""
    return cells(rng, ordinary(sizes), ((2, 3), (4, 2), (1, 5))[int(rng.integers(3))])


def line_of_cells(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws such an image of one column, whose table of columns is 0."""
    p = cells(rng, sizes, (int(rng.integers(1, 9)), 1))
    return p.but(table_x=np.zeros_like(p.options["table_x"]))


def plain_cells(p: Problem) -> Problem:
    """Returns the problem with tables of zeros."""
    return p.but(**{name: np.zeros_like(p.options[name]) for name in ("table_y", "table_x")})


def with_reflections(draw: Draw, gates: bool | None = None) -> Draw:
    """Returns the drawing with directions of length 1, strengths from 0 to 2 and, always, never or half of the time, log gates."""
    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        p = draw(rng, sizes)
        directions = np.asarray(rng.standard_normal(p.k.shape))
        options: dict[str, Any] = {"w": unit(directions), "beta": 2.0 * rng.random(p.k.shape[:-1])}
        if rng.random() < 0.5 if gates is None else gates:
            logs = np.log(rng.random((*p.q.shape[:-2], p.k.shape[-2])))
            options["log_forget"] = np.where(rng.random(logs.shape) < 0.1, -np.inf, logs)
        return p.but(**{name: x.astype(p.q.dtype) for name, x in options.items()})

    return drawn


PATH = with_reflections(softmax("scale", fit=at_most_keys))
PATH_SLOPES = on(PATH, both(ordinary, at_least(q_len=2, kv_len=3)))
WITHOUT_GATES, WITH_GATES = (with_reflections(softmax("scale", fit=at_most_keys), gates) for gates in (False, True))


def not_reflected(p: Problem) -> Problem:
    """Returns the problem with strengths of 0."""
    return p.but(beta=np.zeros_like(p.options["beta"]))
