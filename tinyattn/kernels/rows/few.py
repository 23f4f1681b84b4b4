"""Rows in which few keys have a weight: the keys and weights of one row after the other, and products with these alone."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.kernels.chosen.keys import add_row, dot
from tinyattn.kernels.steps.registers import flat
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.ops.types import Array


@compiled
def gathered(starts, keys, weights, x, width, out):
    """Adds to each row of out the sum of weights times the rows of x at its keys."""
    for row in range(starts.size - 1):
        for n in range(starts[row], starts[row + 1]):
            add_row(out, row * width, weights[n], x, keys[n] * width, width)


@compiled
def scattered(starts, keys, weights, x, width, out):
    """Adds weights times a row of x to the rows of out at its keys."""
    for row in range(starts.size - 1):
        for n in range(starts[row], starts[row + 1]):
            add_row(out, keys[n] * width, weights[n], x, row * width, width)


@compiled
def pulled(starts, keys, slopes, d_out, values, width, out):
    """Fills r (d - sum(r d) / sum(r)), with r the slopes of a row and d the products of its d_out with the values at its keys."""
    for row in range(starts.size - 1):
        total = mean = slopes.dtype.type(0)
        for n in range(starts[row], starts[row + 1]):
            out[n] = dot(d_out, row * width, values, keys[n] * width, width)
            total += slopes[n]
            mean += slopes[n] * out[n]
        if total != 0:
            mean /= total
        for n in range(starts[row], starts[row + 1]):
            out[n] = slopes[n] * (out[n] - mean)


class Few(NamedTuple):
    """The keys of rows that have a weight: those of row r stand from starts[r] to starts[r + 1], with one number for each."""

    starts: Array
    keys: Array
    numbers: Array

    def gathered(self, x: Array) -> Array:
        """Returns (rows, n), the sums of the numbers times rows of x (keys, n)."""
        out = np.zeros((self.starts.size - 1, x.shape[-1]), x.dtype)
        gathered(*self, flat(x), x.shape[-1], out.reshape(-1))
        return out

    def scatter(self, x: Array, out: Array) -> None:
        """Adds the sums of the numbers times rows of x (rows, n) to out (keys, n), which is in C order."""
        scattered(*self, flat(x), x.shape[-1], out.reshape(-1))

    def pulled(self, d_out: Array, values: Array) -> Few:
        """Returns the gradient of the scores of weights whose slopes these are; d_out (rows, n), values (keys, n)."""
        out = np.empty_like(self.numbers)
        pulled(*self, flat(d_out), flat(values), values.shape[-1], out)
        return self._replace(numbers=out)

    def times(self, factors: Array) -> Few:
        """Returns the numbers times one factor each."""
        return self._replace(numbers=self.numbers * factors.astype(self.numbers.dtype))

    def dense(self, shape: tuple[int, ...]) -> Array:
        """Returns the numbers in an array (..., rows, keys), 0 at all other keys."""
        out = np.zeros(shape, self.numbers.dtype)
        out.reshape(-1)[self.places(shape[-1])] = self.numbers
        return out

    def places(self, width: int) -> Array:
        """Returns where each number stands in an array of `width` keys per row."""
        places: Array = self.rows() * width + self.keys
        return places

    def rows(self) -> Array:
        """Returns the row of each number."""
        return np.repeat(np.arange(self.starts.size - 1), self.counts())

    def counts(self) -> Array:
        """Returns how many keys each row has."""
        return np.diff(self.starts)

    def of_rows(self, chosen: Array) -> Few:
        """Returns the keys and numbers of some rows, (rows,) of bool; the others have none."""
        starts, some = np.concatenate(([0], np.cumsum(np.where(chosen, self.counts(), 0)))), np.repeat(chosen, self.counts())
        return Few(starts, self.keys[some], self.numbers[some])
