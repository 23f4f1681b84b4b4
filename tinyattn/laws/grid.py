"""Laws of grids: what is compared when an image is transposed, cut, reordered or changed far away."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.laws.law import outputs
from tinyattn.laws.oracles.calls import restored
from tinyattn.laws.oracles.grid import ragged
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array


def with_zero_table(p: Problem) -> Problem:
    """Returns the problem with a bias table of zeros."""
    rows = math.prod(2 * side - 1 for side in p.options["window"])
    return p.but(bias_table=np.zeros((rows, p.q.shape[-3]), p.q.dtype))


def cells_of_first_window(p: Problem) -> Array:
    """Returns the indices of the cells of the first window."""
    return ragged(*(p.options[name] for name in ("grid", "window", "shift")))[0]


def first_window(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of the cells of the first window."""
    return (outputs(p.call(f))[0][..., cells_of_first_window(p), :],)


def first_window_of_others_changed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the same when the cells of all other windows have far longer keys and other values."""
    own, one = np.isin(np.arange(p.k.shape[-2]), cells_of_first_window(p))[:, None], p.q.dtype.type(1)
    return first_window(f, p.but(k=np.where(own, p.k, 30 * one * p.k), v=np.where(own, p.v, p.v + one)))


def transposed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for the transposed image, read along the other axis, with its outputs put back."""
    grid = p.options["grid"]
    order = np.arange(math.prod(grid)).reshape(grid).T.reshape(-1)
    return (restored([p.tokens(order).but(grid=grid[::-1], axis=1 - p.options["axis"]).call(f)], order),)


def far_from_borders(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of the cells that are further from both ends than half a kernel."""
    half = p.options["kernel"][0] // 2
    return (outputs(p.call(f))[0][..., half : p.q.shape[-2] - half, :],)


def residues(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of the cells of each residue computed alone, without dilation, put together again."""
    grid, dilation = p.options["grid"], p.options["dilation"]
    tokens = np.arange(math.prod(grid)).reshape(grid)
    parts = [tokens[tuple(slice(first, None, step) for first, step in zip(start, dilation, strict=True))]
             for start in np.ndindex(dilation)]
    outs = [outputs(p.tokens(part.reshape(-1)).but(grid=part.shape, dilation=1).call(f))[0] for part in parts]
    return (restored(outs, np.concatenate([part.reshape(-1) for part in parts])),)


def channels_reversed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for the channels in reverse order, put back in order."""
    return (outputs(p.but(q=p.q[..., ::-1, :, :]).call(f))[0][..., ::-1, :, :],)


def within_the_image(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns for every number of the output whether it lies between 0 and the image's."""
    share = outputs(p.call(f))[0] / p.q
    return (((share >= 0) & (share <= 1)).astype(p.q.dtype),)


def in_a_corner(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for the image as the last corner of a larger one, whose other cells no cell sees."""
    rows, columns = p.options["grid"]
    grid = (rows + 2, columns + 1)
    corner = np.arange(math.prod(grid)).reshape(grid)[2:, 1:].reshape(-1)
    place = np.zeros(math.prod(grid), int)
    place[corner] = np.arange(len(corner))
    large = p.tokens(place).but(grid=grid, mask=np.isin(np.arange(len(place)), corner))
    return (outputs(large.call(f))[0][..., corner, :],)
