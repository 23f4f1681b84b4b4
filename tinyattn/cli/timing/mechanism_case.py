"""One mechanism as it is timed: its arguments, the work that its visible pairs take, and a call of one of its forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyattn.engine import vjp
from tinyattn.laws.law import outputs
from tinyattn.ops import masks
from tinyattn.ops.types import Array

HEADS, DIM = 8, 64
# The longest length in the table; a mechanism with a greatest length gets positions up to it.
LONG = 8192
# Work is counted in tiles of this many queries and keys that hold a visible pair, whatever tiles a kernel uses.
TILE = 64
# The length at which a definition is timed, where nothing else is said: its scores are square.
DEFINED = 1024
Call = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One mechanism as it is timed: its options, fixed or made for a length, and which pairs are visible.

    `arguments(q, k, v)` are its arguments by name beside the options. `products` is the number of matrix products per tile of
    tokens, forward, of a mechanism that has a state instead of pairs. `variant` tells rows of one mechanism apart. `defined` is the
    length at which the definition is timed. A mechanism without `gradients` is timed forward only.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    arguments: Callable[..., dict[str, Any]] = lambda q, k, v: {"q": q, "k": k, "v": v}
    seen: Callable[[int], Any] = lambda length: masks.causal()
    times: float = 1
    products: float | None = None
    grid: bool = False
    variant: str = ""
    defined: int = DEFINED
    gradients: bool = True

    @property
    def label(self) -> str:
        """What the row is called: the mechanism, and the variant of it if there are several."""
        return f"{self.name}, {self.variant}" if self.variant else self.name

    @property
    def passes(self) -> tuple[bool, ...]:
        """Whether a pass has a backward, for each pass that is timed."""
        return (False, True) if self.gradients else (False,)

    def all_options(self, length: int) -> dict[str, Any]:
        """Returns the options of a call on so many tokens, with the grid that they fill where the mechanism has one."""
        return self.options | ({"grid": grid_of(length)} if self.grid else {})


def grid_of(length: int) -> tuple[int, int]:
    """Returns the rows and columns of a grid of so many cells, a power of two."""
    rows = 1 << (length.bit_length() - 1) // 2
    return rows, length // rows


def visible_tiles(case: Case, length: int) -> float:
    """Returns how many tiles of all heads hold a visible pair."""
    if case.products is not None:
        return HEADS * length / TILE * case.products / 2
    starts = np.arange(0, length, TILE)
    count = 0
    for start in starts:
        seen = case.seen(length).visible(np.arange(start, start + TILE), np.arange(length))
        by_tile = seen.reshape(*seen.shape[:-2], TILE, len(starts), TILE).any(axis=(-3, -1))
        count += int(by_tile.sum()) * (HEADS if by_tile.ndim == 1 else 1)
    return count * case.times


def work(case: Case, length: int, *, backward: bool) -> float:
    """Returns the FLOPs of the tiles that hold a visible pair: two products of a tile, and five more with a backward."""
    return visible_tiles(case, length) * TILE * TILE * 4 * DIM * (3.5 if backward else 1.0)


def drawn(length: int) -> tuple[Array, Array, Array]:
    """Returns random queries, keys and values."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, HEADS, length, DIM)).astype(np.float32) for _ in range(3))
    return q, k, v


def call(case: Case, form: Call, length: int, *, backward: bool) -> Callable[[], Any]:
    """Returns one call of a form of a mechanism, with the gradients of all its arrays if asked."""
    given = case.arguments(*drawn(length))
    arrays = {name: x for name, x in given.items() if has_gradient(x)}
    fixed = {**case.all_options(length), **{name: x for name, x in given.items() if name not in arrays}}
    if not backward:
        return lambda: form(**arrays, **fixed)

    def slopes() -> Any:
        out, pull = vjp(lambda tree: outputs(form(**tree, **fixed))[0], arrays)
        return pull(np.ones_like(out))

    return slopes


def has_gradient(given: Any) -> bool:
    """Returns whether an argument is an array of real numbers, or a tuple of such arrays."""
    if isinstance(given, tuple):
        return all(map(has_gradient, given))
    return isinstance(given, np.ndarray) and np.issubdtype(given.dtype, np.floating)
