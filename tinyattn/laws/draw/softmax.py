"""Problems of softmax attention, whose options are each present about half of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.draw.sizes import Fit, at_least
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes, arrays
from tinyattn.ops import masks

ALL = ("causal", "window", "mask", "bias", "scale", "softcap", "sinks")


def softmax(*names: str, fit: Fit = lambda sizes: sizes) -> Draw:
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
    """Returns a random value for one option."""
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


def without(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of all softmax options except these."""
    return tuple(name for name in ALL if name not in names)


def sloped(*names: str) -> Draw:
    """Returns the drawing of problems with a gradient that is not 0 everywhere: some query sees more than one key.

    A budget in float64 is that of float32, scaled. Where float32 saturates (a weight of exactly 1, a cap whose derivative
    is exactly 0) that budget would be 0, so that float64 problems of these kinds are not drawn.
    """
    inner = softmax(*names, fit=at_least(q_len=2, kv_len=3))

    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        saturated = sizes.dtype == "float64" and sizes.regime in ("spiky", "offset")
        p = inner(rng, replace(sizes, regime="plain") if saturated else sizes)
        return p if p.visible().sum(axis=-1).max() > 1 else p.but(window=None, mask=None, causal=False)

    return draw
