"""How problems are drawn: sizes from 0 and 1 upward, options composed, in a regime that can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.problem import REGIMES, Problem, Sizes, arrays
from tinyattn.ops import masks

ALL = ("causal", "window", "mask", "bias", "scale", "softcap", "sinks")


def draw_sizes(rng: np.random.Generator, *, dtype: str = "float64") -> Sizes:
    """Returns sizes that straddle 0, 1 and each other: axes that coincide, more queries than keys, odd lengths."""
    q_len, kv_len = int(rng.choice([0, 1, 2, 4, 5, 8])), int(rng.choice([1, 2, 4, 7, 8, 13]))
    return Sizes(leading=((), (1,), (2,), (4,), (2, 2))[int(rng.integers(5))], kv_heads=int(rng.choice([1, 2, 3])),
                 groups=int(rng.choice([1, 2, 4])), q_len=q_len, kv_len=kv_len, head_dim=int(rng.choice([1, 2, 4, 8])),
                 value_dim=int(rng.choice([1, 3, 4])), regime=str(rng.choice(REGIMES)), dtype=dtype)


def softmax(*names: str, fit: Callable[[Sizes], Sizes] = lambda sizes: sizes) -> Callable[..., Problem]:
    """Returns the drawing of softmax problems with these options, each present about half of the time."""
    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        sizes = fit(sizes)
        full = (*sizes.leading, sizes.heads, sizes.q_len, sizes.kv_len)
        options: dict[str, Any] = {}
        for name in names:
            if rng.random() < 0.5:
                options[name] = option(name, rng, sizes, full)
        return arrays(rng, sizes, **options)

    return draw


def option(name: str, rng: np.random.Generator, sizes: Sizes, full: tuple[int, ...]) -> Any:
    """Returns one option's value."""
    if name == "causal":
        return True
    if name == "window":
        return ((2, 0), (0, 0), (1, 1), (None, 1), (3, None))[int(rng.integers(5))]
    if name == "scale":
        return float(rng.choice([0.25, 1.0, 2.0]))
    if name == "softcap":
        return float(rng.choice([0.7, 3.0]))
    if name == "sinks":
        return rng.standard_normal(sizes.heads).astype(sizes.dtype)
    if name == "bias":
        shape = (full, (sizes.heads, 1, sizes.kv_len), (sizes.q_len, sizes.kv_len))[int(rng.integers(3))]
        return (2.0 * rng.standard_normal(shape)).astype(sizes.dtype)
    kind = int(rng.integers(3))
    if kind == 0:
        mask = rng.random(full) < 0.6
        mask[..., : sizes.q_len // 3, :] = False  # queries that see nothing
        return mask
    return rng.random((sizes.q_len, sizes.kv_len)) < 0.7 if kind == 1 else masks.strided(2) | masks.first(1)


def at_least(**least: int) -> Callable[[Sizes], Sizes]:
    """Returns the sizes raised to a least."""
    return lambda sizes: replace(sizes, **{name: max(getattr(sizes, name), n) for name, n in least.items()})


def both(*fits: Callable[[Sizes], Sizes]) -> Callable[[Sizes], Sizes]:
    """Returns one change of sizes after the other."""
    def fit(sizes: Sizes) -> Sizes:
        for change in fits:
            sizes = change(sizes)
        return sizes

    return fit


def square(sizes: Sizes) -> Sizes:
    """Returns the sizes with as many queries as keys."""
    return replace(sizes, q_len=sizes.kv_len)


def without(names: Sequence[str]) -> tuple[str, ...]:
    """Returns all softmax options but these."""
    return tuple(name for name in ALL if name not in names)
