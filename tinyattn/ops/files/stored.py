"""A tensor that stays in its file: its rows are widened when they are asked for, a tile at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.files.blocks import q4_0, q4_1, q5_0, q5_1, q8_0
from tinyattn.ops.files.blocks_k import q4_k, q5_k, q6_k
from tinyattn.ops.types import Array

FLOATING = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Of each block format: the bytes of a block, and the function that unpacks blocks (n, bytes).
BLOCKS: dict[str, tuple[int, Callable[[Array], Array]]] = {
    "Q4_0": (18, q4_0), "Q4_1": (20, q4_1), "Q5_0": (22, q5_0), "Q5_1": (24, q5_1), "Q8_0": (34, q8_0),
    "Q4_K": (144, q4_k), "Q5_K": (176, q5_k), "Q6_K": (210, q6_k)}


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor in a file: `name` says which one, `code` how its numbers are stored, `raw` are its bytes in the mapped file.

    The first axis is the one that is read in tiles. Nothing is widened before `rows`, `tiles` or `array` is called. The file
    must not shrink while it is mapped, because the operating system ends a process that reads beyond its end.

    >>> half = Stored("a.gguf: w", "F16", (2, 3), np.ones(6, np.float16).view(np.uint8))
    >>> half.rows(1, 2)
    array([[1., 1., 1.]], dtype=float32)
    """

    name: str
    code: str
    shape: tuple[int, ...]
    raw: Array

    def __repr__(self) -> str:
        return f"Stored({self.name!r}, {self.code}, {self.shape})"

    @property
    def nbytes(self) -> int:
        """The bytes that the tensor takes in its file."""
        return self.raw.nbytes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that `array` returns: float64 for numbers stored as float64, float32 for all others."""
        return np.dtype(np.float64 if self.code == "F64" else np.float32)

    def rows(self, start: int, stop: int, dtype: Any = None) -> Array:
        """Returns the rows from `start` to before `stop` as an array (stop - start, ...) of `dtype`, or of `self.dtype`.

        Widening is exact. Numbers stored as float64 are rounded where float32 is asked for.

        Raises:
            TypeError: the bounds are not ints; a dtype other than float32 and float64. ValueError: the tensor holds integers, or
                numbers in a format that this library does not read; the rows are outside of it, or it is a scalar.

        >>> Stored("a: w", "BF16", (2,), np.array([0x3F80, 0x4000], "<u2").view(np.uint8)).rows(0, 2, np.float64)
        array([1., 2.])
        """
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        if wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"dtype: expected float32 or float64, got {wanted}")
        if not self.shape:
            raise ValueError(f"{self.name}: a scalar has no rows")
        stop = whole("stop", stop, 0, self.shape[0])
        start = whole("start", start, 0, stop)
        size = self.nbytes // self.shape[0] if self.shape[0] else 0
        return self.unpacked(self.raw[start * size : stop * size], wanted).reshape(stop - start, *self.shape[1:])

    def tiles(self, rows: int, dtype: Any = None) -> Iterator[tuple[int, Array]]:
        """Yields (start, tile) for each tile of `rows` rows, from the first to the last, which may have fewer.

        >>> [(start, tile.shape) for start, tile in Stored("a: w", "F32", (5, 1), np.zeros(20, np.uint8)).tiles(2)]
        [(0, (2, 1)), (2, (2, 1)), (4, (1, 1))]
        """
        rows, length = whole("rows", rows, 1), self.shape[0] if self.shape else 0
        for start in range(0, length, rows):
            yield start, self.rows(start, min(start + rows, length), dtype)

    def take(self, indices: Array, dtype: Any = None) -> Array:
        """Returns the rows with these indices, an integer array of any shape -> (*indices.shape, ...), as an embedding needs.

        >>> Stored("a: w", "F32", (2, 1), np.array([1.0, 2.0], np.float32).view(np.uint8)).take(np.array([[1, 0]])).tolist()
        [[[2.0], [1.0]]]
        """
        chosen = self.reordered(np.asarray(indices).reshape(-1))
        return chosen.array(dtype).reshape(*np.shape(indices), *self.shape[1:])

    def reordered(self, indices: Array) -> Stored:
        """Returns a tensor of the rows with these indices (n,), still as they are stored; their bytes are copied.

        >>> Stored("a: w", "F32", (2,), np.array([1.0, 2.0], np.float32).view(np.uint8)).reordered(np.array([1, 0])).array()
        array([2., 1.], dtype=float32)
        """
        if not self.shape:
            raise ValueError(f"{self.name}: a scalar has no rows")
        raw = self.raw.reshape(self.shape[0], -1)[indices].reshape(-1) if self.raw.size else self.raw
        return Stored(self.name, self.code, (len(indices), *self.shape[1:]), raw)

    def array(self, dtype: Any = None) -> Array:
        """Returns the whole tensor, as `rows` does; without a copy where the file holds the numbers in the requested dtype.

        >>> Stored("a: w", "F32", (), np.zeros(4, np.uint8)).array()
        array(0., dtype=float32)
        """
        if self.shape:
            return self.rows(0, self.shape[0], dtype)
        return Stored(self.name, self.code, (1,), self.raw).rows(0, 1, dtype).reshape(())

    def unpacked(self, raw: Array, dtype: np.dtype[Any]) -> Array:
        """Returns the numbers that these bytes of the tensor hold."""
        # An infinite or NaN scale gives NaN, and one beyond the dtype inf, without a warning: models check their outputs and weights.
        with np.errstate(all="ignore"):
            if self.code in BLOCKS:
                size, unpack = BLOCKS[self.code]
                if not len(raw):
                    return np.empty(0, dtype)
                return unpack(raw.reshape(-1, size)).astype(dtype, copy=False)
            if self.code not in FLOATING:
                raise ValueError(f"{self.name}: stored as {self.code}; weights are read from {', '.join((*FLOATING, *BLOCKS))}")
            numbers: Array = raw.view(FLOATING[self.code])
            if self.code == "BF16":
                numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
            return numbers.astype(dtype, copy=False)

