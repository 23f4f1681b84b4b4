"""A batch whose rows have different lengths: the part of each argument that belongs to each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinyattn.caches.base import Base
from tinyattn.caches.chunk import token_axis
from tinyattn.caches.options import declared
from tinyattn.ops.checks import integers
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.score_rule import ScoreRule, with_parts
from tinyattn.ops.types import Array


def chunk_of(k: Array, v: Array) -> int:
    """Returns the number of tokens of a chunk with rows."""
    for name, array in (("k", k), ("v", v)):
        if not isinstance(array, np.ndarray) or array.ndim < 3:
            raise TypeError(f"{name}: expected an array (rows, ..., n, dim), got {getattr(array, 'shape', type(array).__name__)}")
    if len(v) != len(k) or v.shape[-2] != k.shape[-2]:
        raise ValueError(f"v: expected {len(k)} rows of {k.shape[-2]} tokens as in k {k.shape}, got shape {v.shape}")
    return int(k.shape[-2])


def check_lengths(lengths: Any, rows: int | None = None, most: int | None = None) -> Array:
    """Returns lengths as an array of one int per row, each of 0 to `most`."""
    counts = integers("lengths", lengths)
    if counts.shape != ((rows,) if rows is not None else counts.shape[:1]):
        raise ValueError(f"lengths: expected {'as many' if rows is None else rows} ints, one per row, got shape {counts.shape}")
    if counts.size and (counts.min() < 0 or (most is not None and counts.max() > most)):
        limit = "0 or more" if most is None else f"0 to the chunk's {most} tokens"
        raise ValueError(f"lengths: expected {limit}, got {int(counts.min())} to {int(counts.max())}")
    return counts


def successor(cache: Any) -> Any:
    """Returns a fork that will replace a cache."""
    return cache._successor() if isinstance(cache, Base) else cache.fork()


def release(caches: Iterable[Any]) -> None:
    """Returns the pages of caches to the pools that they share; most caches have none."""
    for cache in caches:
        if hasattr(cache, "free"):
            cache.free()


def padded(out: Array, own: slice, tokens: int) -> Array:
    """Returns the output of a row's own queries, with 0 for the padding of the chunk."""
    return np.pad(out, [(0, 0)] * (out.ndim - 2) + [(own.start, tokens - own.stop), (0, 0)])


def per_token_of(cache: Any) -> Mapping[str, str] | None:
    """Returns the options of a row's cache that have one entry per token, as its mechanism declares them; None if unknown."""
    mechanism = getattr(cache, "mechanism", None)
    return {} if mechanism is None and isinstance(cache, Base) else declared(mechanism)


def option_of_row(name: str, option: Any, row: int, own: slice, sizes: tuple[int, int], rank: int,
                  per_token: Mapping[str, str] | None) -> Any:
    """Returns the part of an option that belongs to the own tokens of one row, or all of it if it is the same for all rows.

    An option with one entry per row and token has as many axes as the queries, `rank`, with the tokens on the last but one, or one
    axis less, with the tokens on the last, or on the last but one where all heads read it. `sizes` are the rows and the tokens of
    the chunk. If the mechanism does not declare which options those are, `per_token` is None and the number of axes decides.

    Raises:
        ValueError: a mask or bias array, whose axes would have another meaning in every row; sizes that do not fit.
    """
    rows, tokens = sizes
    if isinstance(option, Pattern):
        return pattern_of_row(option, row, rows, rank)
    if isinstance(option, ScoreRule):
        return with_parts(option, lambda x: parameter_of_row(x, row, rows, rank))
    if name in ("mask", "bias") and isinstance(option, np.ndarray):
        raise ValueError(f"{name}: rows of different lengths share no array; give a Pattern or Bias")
    if (per_token is not None and name not in per_token) or not isinstance(option, np.ndarray) or option.ndim < rank - 1:
        return option
    axis = token_axis(option, rank, (per_token or {}).get(name, ""))
    if option.ndim > rank or option.shape[0] not in (1, rows) or option.shape[axis] not in (1, tokens):
        raise ValueError(f"{name}: expected {rows} rows and {tokens} tokens, on the first axis and on axis {axis}, got shape "
                         f"{option.shape}")
    mine = option if option.shape[0] == 1 else option[row : row + 1]
    if option.shape[axis] == 1 and tokens != 1:
        return mine
    return mine[..., own] if axis == -1 else mine[..., own, :]


def parameter_of_row(x: Array, row: int, rows: int, rank: int) -> Array:
    """Returns one row's part of a parameter of a score rule, which has the same value for all queries and keys of a row."""
    if any(n > 1 for n in x.shape[-2:]):
        raise ValueError(f"score: rows of different lengths share no parameter per query or key, got one of shape {x.shape}")
    if x.ndim >= rank and x.shape[0] not in (1, rows):
        raise ValueError(f"score: expected a parameter of {rows} rows, or one for all, got shape {x.shape}")
    return x[row : row + 1] if x.ndim >= rank and x.shape[0] > 1 else x


def pattern_of_row(pattern: Pattern, row: int, rows: int, rank: int) -> Pattern:
    """Returns the part of a Pattern of all sequences that belongs to one row of the first axis."""
    def see(i: Array, j: Array) -> Array:
        seen = np.asarray(pattern.see(i, j))
        if seen.ndim < rank or len(seen) == 1:
            return seen
        if len(seen) != rows:
            raise ValueError(f"mask: expected a pattern of {rows} sequences, got one of {len(seen)}")
        return seen[row : row + 1]

    return Pattern(see, text=pattern.text)
