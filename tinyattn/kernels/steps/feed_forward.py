"""The feed-forward layer SwiGLU in one: a block of rows passes its three matrices and its gate while it is in the cache."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.steps.activation import swiglu_back, swiglu_step
from tinyattn.kernels.steps.product import BLOCK, INPUTS, LARGEST, OUTPUTS, gradient_of_matrix, packed, parts_of, row_by_panel
from tinyattn.kernels.steps.registers import again, flat, fresh, mapped
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.lanes import ROWS, columns
from tinyattn.kernels.tiles.product import micro_add
from tinyattn.kernels.tiles.threads import next_task, share
from tinyattn.ops import activation
from tinyattn.ops.types import Array


def swiglu_and_back(f, d_out, gate, up):
    """Returns the gradients of gate and up, and silu(gate) up itself, which is not kept until then."""
    return (*swiglu_back(f, d_out, gate, up), (f.tanh(gate * 0.5) * 0.5 + 0.5) * gate * up)


swiglu_and_back_step = mapped(swiglu_and_back)


@compiled
def rows_through(counter, rows, width, hidden, micro, x, panels, gates, ups, out):
    """Fills gates = x gate, ups = x up and out = (silu(gates) ups) down; the panels of the three matrices follow each other."""
    inner, matrix = np.empty(BLOCK * hidden, x.dtype), width * hidden
    while True:
        first = next_task(counter) * BLOCK
        if first >= rows:
            break
        last = min(rows, first + BLOCK)
        for row in range(first, last, ROWS):
            for column in range(0, hidden, micro):
                row_by_panel(gates, row, column, hidden, x, row, width, panels, column * width, micro)
            for column in range(0, hidden, micro):
                row_by_panel(ups, row, column, hidden, x, row, width, panels, matrix + column * width, micro)
        here = slice(first * hidden, last * hidden)
        swiglu_step((gates[here], ups[here]), (inner,), 0, (last - first) * hidden)
        for row in range(first, last, ROWS):
            for column in range(0, width, micro):
                row_by_panel(out, row, column, width, inner, row - first, hidden, panels, 2 * matrix + column * hidden, micro)


@compiled
def rows_back(counter, rows, width, hidden, micro, panels, gates, ups, d_out, inner, d_gates, d_ups, d_x):
    """Fills inner = silu(gates) ups, and the gradients of gates, ups and x; panels are those of the transposed matrices."""
    d_inner, matrix = np.empty(BLOCK * hidden, d_out.dtype), width * hidden
    while True:
        first = next_task(counter) * BLOCK
        if first >= rows:
            break
        last = min(rows, first + BLOCK)
        for row in range(first, last, ROWS):
            for column in range(0, hidden, micro):
                row_by_panel(d_inner, row - first, column, hidden, d_out, row, width, panels, 2 * matrix + column * width, micro)
        here = slice(first * hidden, last * hidden)
        swiglu_and_back_step((d_inner, gates[here], ups[here]), (d_gates[here], d_ups[here], inner[here]), 0, (last - first) * hidden)
        for row in range(first, last, ROWS):
            for column in range(0, width, micro):
                row_by_panel(d_x, row, column, width, d_gates, row, hidden, panels, column * hidden, micro)
            for column in range(0, width, micro):
                at = matrix + column * hidden
                micro_add(d_x, row * width + column, width, d_ups, row * hidden, hidden, 1, panels, at, micro, hidden)


@compiled
def matrices_back(counter, rows, width, hidden, micro, x, inner, d_gates, d_ups, d_out, d_gate, d_up, d_down):
    """Fills x^T d_gates, x^T d_ups and inner^T d_out; a task is a part of one of them."""
    panel = np.empty(BLOCK * micro, x.dtype)
    tall, wide = (width + INPUTS - 1) // INPUTS, (hidden + OUTPUTS - 1) // OUTPUTS
    lower, narrow = (hidden + INPUTS - 1) // INPUTS, (width + OUTPUTS - 1) // OUTPUTS
    while True:
        task = next_task(counter)
        if task >= 2 * tall * wide + lower * narrow:
            break
        if task < tall * wide:
            gradient_of_matrix(d_gate, x, d_gates, rows, width, hidden, task % tall * INPUTS, task // tall * OUTPUTS, panel, micro)
        elif task < 2 * tall * wide:
            part = task - tall * wide
            gradient_of_matrix(d_up, x, d_ups, rows, width, hidden, part % tall * INPUTS, part // tall * OUTPUTS, panel, micro)
        else:
            part = task - 2 * tall * wide
            gradient_of_matrix(d_down, inner, d_out, rows, hidden, width, part % lower * INPUTS, part // lower * OUTPUTS, panel, micro)


def in_numpy(x: Array, gate: Array, up: Array, down: Array) -> Array:
    """Returns the same by functions that have rules."""
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return (activation.swiglu(rows @ gate, rows @ up) @ down).reshape(x.shape)


@again(in_numpy)
@primitive
def through(x: Array, gate: Array, up: Array, down: Array) -> tuple[Array, Any]:
    """Returns (silu(x gate) * (x up)) down of arrays that `fits` allows."""
    rows, (width, hidden) = x.size // x.shape[-1], gate.shape
    x_flat, out, gates, ups = flat(x), fresh(x.size, x.dtype), fresh(rows * hidden, x.dtype), fresh(rows * hidden, x.dtype)
    share(rows_through, -(-rows // BLOCK), 3 * rows * gate.size, rows, width, hidden, columns(x.itemsize), x_flat,
          packed([gate, up, down], False), gates, ups, out)
    return out.reshape(x.shape), (x_flat, x.shape, gate, up, down, gates, ups)


@through.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    x, shape, gate, up, down, gates, ups = saved
    rows, (width, hidden), d_flat = x.size // shape[-1], gate.shape, flat(d_out)
    sizes = rows, width, hidden, columns(x.itemsize)
    d_x, inner, d_gates, d_ups = fresh(x.size, x.dtype), *(fresh(gates.size, x.dtype) for _ in range(3))
    share(rows_back, -(-rows // BLOCK), 3 * rows * gate.size, *sizes, packed([gate, up, down], True), gates, ups, d_flat,
          inner, d_gates, d_ups, d_x)
    d_weights = [np.zeros(gate.size, x.dtype) for _ in range(3)]
    tasks = 2 * parts_of(width, hidden) + parts_of(hidden, width)
    share(matrices_back, tasks, 3 * rows * gate.size, *sizes, x, inner, d_gates, d_ups, d_flat, *d_weights)
    return {"x": d_x.reshape(shape), "gate": d_weights[0].reshape(gate.shape), "up": d_weights[1].reshape(gate.shape),
            "down": d_weights[2].reshape(down.shape)}


def fits(x: Any, gate: Any, up: Any, down: Any) -> bool:
    """Returns whether all sizes are whole micro tiles, and the matrices small enough to stay in the second cache."""
    step, (width, hidden) = max(columns(x.dtype.itemsize), ROWS), gate.shape
    return (x.size > 0 and x.shape[-1] == width and x.size // width % ROWS == 0 and gate.shape == up.shape == down.shape[::-1]
            and width % step == 0 and hidden % step == 0 and 0 < 3 * width * hidden <= LARGEST)


def feed_forward(x: Array, gate: Array, up: Array, down: Array) -> Array:
    """Returns (silu(x gate) * (x up)) down for which `fits` is true; arrays or Tensors of one dtype, float32 or float64."""
    return through(x, gate, up, down)
