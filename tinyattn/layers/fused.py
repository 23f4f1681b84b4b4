"""The steps of a layer besides attention: compiled where Numba is installed and the arrays are large, otherwise those of `ops`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from typing import Any, TypeVar, cast

import numpy as np

from tinyattn.ops import activation, loss, norm
from tinyattn.ops.positions.rotary import rotary_from as definition_of_turns
from tinyattn.ops.types import Array

F = TypeVar("F", bound=Callable[..., Any])
# From this many numbers on a kernel is faster, forward and with gradients.
LEAST = 1 << 14
WIDE = {np.dtype(np.float32), np.dtype(np.float64)}


@cache
def step(module: str, name: str) -> Any:
    """Returns a function of `tinyattn.kernels.steps`; None where Numba is absent or told not to compile."""
    try:
        from tinyattn.kernels.tiles.jit import DISABLED
        found = getattr(import_module(f"tinyattn.kernels.steps.{module}"), name)
    except ImportError:
        return None
    return None if DISABLED else found


def fused(module: str, definition: F) -> F:
    """Returns a function of `ops` that runs its kernel where its first argument is large; results and errors are the same."""
    @wraps(definition)
    def best(x: Any, *rest: Any, **options: Any) -> Any:
        found = step(module, definition.__name__) if getattr(x, "size", 0) >= LEAST else None
        return (found or definition)(x, *rest, **options)

    return cast(F, best)


rms_norm, layer_norm = fused("norm", norm.rms_norm), fused("norm", norm.layer_norm)
swiglu, gelu, exact_gelu = (fused("activation", f) for f in (activation.swiglu, activation.gelu, activation.exact_gelu))
rotary_from = fused("rotary", definition_of_turns)
cross_entropy = fused("loss", loss.cross_entropy)


def embedding(table: Array, tokens: Array) -> Array:
    """Returns table[tokens]: a row of the table (vocab, width) per token.

    >>> embedding(np.eye(3), np.array([2, 0]))
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    found = step("embedding", "embedding") if tokens.size * table.shape[-1] >= LEAST else None
    return cast(Array, table[tokens] if found is None else found(table, tokens))


def products(x: Array, *weights: Array) -> tuple[Array, ...] | None:
    """Returns x w for up to three matrices (inputs, outputs) by one kernel; None where it does not take them or they are small.

    >>> products(np.ones((2, 3)), np.ones((3, 4))) is None
    True
    """
    if getattr(x, "size", 0) < LEAST or x.dtype not in WIDE or any(weight.ndim != 2 or weight.dtype != x.dtype for weight in weights):
        return None
    project, fits = step("product", "project"), step("product", "fits")
    made: tuple[Array, ...] | None = project(x, *weights) if project is not None and fits(x, *weights) else None
    return made


def feed_forward(x: Array, gate: Array, up: Array, down: Array) -> Array | None:
    """Returns swiglu(x gate, x up) down by one kernel; None where it does not take the matrices or they are small.

    >>> feed_forward(np.ones((2, 3)), np.ones((3, 4)), np.ones((3, 4)), np.ones((4, 3))) is None
    True
    """
    if getattr(x, "size", 0) < LEAST or x.dtype not in WIDE or any(w.ndim != 2 or w.dtype != x.dtype for w in (gate, up, down)):
        return None
    found, fits = step("feed_forward", "feed_forward"), step("feed_forward", "fits")
    made: Array | None = found(x, gate, up, down) if found is not None and fits(x, gate, up, down) else None
    return made
