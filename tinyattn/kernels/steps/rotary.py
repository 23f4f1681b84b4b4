"""Rotary positions of consecutive tokens: read where heads were split, written head by head as attention reads them."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.steps.registers import WORK, again, alike
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.storage import rows_of
from tinyattn.kernels.tiles.threads import next_task, share
from tinyattn.ops.positions.frequencies import plain
from tinyattn.ops.positions.rotary import rotary_from as definition
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@compiled
def turn_rows(counter, heads, length, cos, sin, x, x_at, x_row, out, out_at, out_row):
    """Fills (a cos - b sin, b cos + a sin) for the halves a and b of every row; a task is one head."""
    half = np.uintp(cos.size // length)
    while True:
        head = next_task(counter)
        if head >= heads:
            break
        for n in range(length):
            # Indices without a sign rather than slices, six of which per row take 0.7 of the time again.
            at, to, turn = np.uintp(x_at[head] + n * x_row), np.uintp(out_at[head] + n * out_row), np.uintp(n) * half
            for i in range(half):
                a, b, c, s = x[at + i], x[at + half + i], cos[turn + i], sin[turn + i]
                out[to + i] = a * c - b * s
                out[to + half + i] = b * c + a * s


@lru_cache(maxsize=4)
def turns(start: int, length: int, dims: int, base: float, dtype: Any, sign: int) -> tuple[Array, Array]:
    """Returns cos and sin of all positions, dims / 2 each, side by side; kept, as the layers of a model share them."""
    angles = np.arange(start, start + length)[:, None] * plain(dims, base)
    return np.cos(angles).astype(dtype).reshape(-1), (sign * np.sin(angles)).astype(dtype).reshape(-1)


def turned(x: Array, out: Array, start: int, base: float, sign: int) -> Array:
    """Fills and returns `out` with x turned by its positions, or turned back with a sign of -1."""
    length, dims = x.shape[-2:]
    source, target = rows_of(x), rows_of(out)
    share(turn_rows, len(source.start), WORK // 4 * x.size, len(source.start), length,
          *turns(start, length, dims, base, x.dtype, sign), *source, *target)
    return out


def in_numpy(x: Array, start: int, base: float) -> Array:
    """Returns the same by functions that have rules."""
    return definition(x, start, base=base)


@again(in_numpy)
@primitive
def rotary_primitive(x: Array, start: int, base: float) -> tuple[Array, Any]:
    """Returns x (..., length, dims) turned by its positions from `start` on, contiguous."""
    return turned(x, np.empty(x.shape, x.dtype), start, base, 1), (x.strides, start, base)


@rotary_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    strides, start, base = saved
    # In the order of axes that x had, so that heads are merged without another copy; its channels last, as they are written in a row.
    order = [*sorted(range(d_out.ndim - 1), key=lambda axis: -strides[axis]), d_out.ndim - 1]
    d_x = np.empty([d_out.shape[axis] for axis in order], d_out.dtype).transpose(np.argsort(order))
    return {"x": turned(d_out, d_x, start, base, -1)}


@widened
def rotary_from(x: Array, start: int, *, base: float = 10000.0) -> Array:
    """Returns `tinyattn.ops.rotary_from` by the kernel; arrays without pairs of channels are left to that."""
    if alike(x) and x.ndim > 1 and x.size and x.shape[-1] % 2 == 0:
        return rotary_primitive(x, start, base)
    return definition(x, start, base=base)
