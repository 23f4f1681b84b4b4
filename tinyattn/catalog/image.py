"""Rows of what an image brings besides who sees whom: a map of where to look, and positions in two dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn import definitions, ops
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws import general
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.laws.spatial import image, smooth
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid


def channels(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """An image of some channels as q, and the weights of a gate; k and v are nothing."""
    shape = (*sizes.leading, int(rng.integers(1, 5)), *(int(n) for n in rng.integers(1, 6, 2)))
    size = int(rng.choice([1, 3]))
    x = rng.standard_normal(shape)
    nothing = np.zeros((*shape[:-1], 0))
    return Problem(x, nothing, nothing, {"kernel": rng.standard_normal((2, size, size)),
                                         "bias": rng.standard_normal(())}).astype(sizes.dtype)


def of_an_image(f: Mechanism) -> Mechanism:
    """Returns a gate as f(q, k, v, kernel=, bias=), q the image."""
    return lambda q, k, v, *, kernel, bias: f(q, kernel=kernel, bias=bias)


def moved_and_added(q: Array, k: Array, v: Array, *, kernel: Array, bias: Array) -> Array:
    """The gate as whole maps, moved by each step of the kernel and added up."""
    height, width = q.shape[-2:]
    edge = kernel.shape[1] // 2
    middle = q.sum(axis=-3) * (1.0 / q.shape[-3])
    maps = (middle, q.max(axis=-3))
    total = bias + np.zeros_like(middle)
    for (c, y, x) in np.ndindex(kernel.shape):
        rows = np.eye(height, k=y - edge, dtype=q.dtype)
        columns = np.eye(width, k=edge - x, dtype=q.dtype)
        total = total + kernel[c, y, x] * (rows @ maps[c] @ columns)
    return q / (1.0 + np.exp(-total))[..., None, :, :]


def halved(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Half of the image."""
    return 0.5 * q


def untouched(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """The image."""
    return q


def backwards(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The channels in reverse order, and back."""
    return (outputs(p.but(q=p.q[..., ::-1, :, :]).call(f))[0][..., ::-1, :, :],)


def share(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Whether every number of the output lies between 0 and the image's."""
    share = outputs(p.call(f))[0] / p.q
    return (((share >= 0) & (share <= 1)).astype(p.q.dtype),)


GATED = tuple(law for law in general.laws(channels, heads=False) if law.name != "linear_in_the_values")


def turned(f: Mechanism) -> Mechanism:
    """Returns attention of queries and keys that f turns by the places of their cells."""
    return lambda q, k, v, *, grid, **options: definitions.attention(f(q, grid=grid), f(k, grid=grid), v, **options)


def placed(rng: np.random.Generator, sizes: Sizes, grid: Grid | None = None) -> Problem:
    """An image whose cells have a head_dim that is a multiple of 4."""
    grid = grid or tuple(int(n) for n in rng.integers(1, 5, 2))
    p = image(rng, sizes, grid)
    return p.but(**{name: np.repeat(getattr(p, name), 4, axis=-1) for name in "qk"})


def one_wide(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """An image one cell wide or high."""
    length = int(rng.integers(1, 9))
    return placed(rng, sizes, (length, 1) if rng.random() < 0.5 else (1, length))


def half_turned(q: Array, k: Array, v: Array, *, grid: Grid, **options: Any) -> Any:
    """Rotary positions along a line, in the half of the channels that belongs to it."""
    half, at = q.shape[-1] // 2, np.arange(q.shape[-2])
    first = grid[1] == 1

    def turn(x: Array) -> Array:
        a, b = x[..., :half], x[..., half:]
        return np.concatenate((ops.rotary(a, at), b) if first else (a, ops.rotary(b, at)), axis=-1)

    return definitions.attention(turn(q), turn(k), v, **options)


def in_a_corner(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The image as the last corner of a larger one, whose other cells nobody sees."""
    rows, columns = p.options["grid"]
    grid = (rows + 2, columns + 1)
    corner = np.arange(math.prod(grid)).reshape(grid)[2:, 1:].reshape(-1)
    place = np.zeros(math.prod(grid), int)
    place[corner] = np.arange(len(corner))
    large = {name: getattr(p, name)[..., place, :] for name in "qkv"}
    out = outputs(p.but(**large, grid=grid, mask=np.isin(np.arange(len(place)), corner)).call(f))[0]
    return (out[..., corner, :],)


ROWS = (
    Row("spatial_gate", "A map of where to look, made from each place's mean and largest channel, times the image.",
        definitions.spatial_gate, (Paper("Woo et al.", 2018, "1807.06521"),), "exact", "y x (channels + k k)", channels,
        (agrees("moved_and_added", moved_and_added, draw=channels, says="Whole maps, moved by each step of the kernel and added up, "
                                                                        "give the same."),
         slopes_agree("moved_and_added", moved_and_added, draw=channels),
         agrees("half", halved, draw=but(channels, lambda p: p.but(kernel=0 * p.options["kernel"], bias=0.0)),
                says="Weights of 0 leave one half of the image."),
         agrees("the_image", untouched, draw=but(channels, lambda p: p.but(bias=1e4)), says="A large bias leaves the image as it is."),
         Law("channels_have_no_order", "Channels in another order give theirs in that order.", channels, plain, backwards),
         Law("nothing_grows", "No number grows or changes its sign.", channels, share, lambda f, p: (np.ones_like(p.q),), exact=True),
         *GATED),
        (BadInput({"kernel": np.ones((2, 4, 4))}, ValueError, ("kernel", "odd", "(2, 4, 4)")),
         BadInput({"bias": np.ones(3)}, ValueError, ("bias", "(3,)")), BadInput({"q": np.ones((2, 2))}, ValueError, ("x", "(2, 2)"))),
        aliases=("cbam", "spatial attention", "spatial attention module"), called=of_an_image),
    Row("rotary_2d", "A cell's row turns one half of the channels, its column the other.", ops.rotary_2d,
        (Paper("Su et al.", 2021, "2104.09864"), Paper("Heo et al.", 2024, "2403.13298")), "exact", "heads i d", placed,
        (agrees("rotary_of_one_half", half_turned, draw=one_wide,
                says="In an image one cell wide it is rotary positions on one half of the channels."),
         slopes_agree("rotary_of_one_half", half_turned, draw=smooth(one_wide)),
         Law("only_distances_matter", "Attention in a corner of a larger image gives the same.", placed, plain, in_a_corner),
         *general.laws(placed)),
        (BadInput({"grid": (97, 1)}, ValueError, ("grid", "(97, 1)")), BadInput({"grid": (97,)}, ValueError, ("grid", "(97,)"))),
        aliases=("rope 2d", "2d rope", "2d rotary", "axial rope", "rope-vit"), called=turned),
)
