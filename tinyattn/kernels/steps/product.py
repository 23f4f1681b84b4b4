"""The product of rows with up to three matrices, as layers have it: x is read once, and the sum of its gradients is written once."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.steps.fetch import fetch_to_read, fetch_to_write
from tinyattn.kernels.steps.registers import again, flat, fresh
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.lanes import ROWS, columns, lanes
from tinyattn.kernels.tiles.product import micro_add, micro_set
from tinyattn.kernels.tiles.threads import next_task, share
from tinyattn.kernels.tiles.vector import pack_rows, scale_row, transpose_rows
from tinyattn.ops.types import Array

# Rows of one task.
BLOCK = 64
# Rows and columns of a matrix's gradient that one task computes: they stay in the second cache while the rows of x pass by.
INPUTS, OUTPUTS = 128, 256
# Rows that one micro tile of a gradient asks for ahead, so that the tiles of INPUTS ask for a block: a block asked for at once
# would be waited for.
AHEAD = BLOCK * ROWS // INPUTS
# Elements of all matrices: those of float32 stay in the second cache.
LARGEST = 1 << 18


@compiled
def pack(target, weight, rows, width, turned, micro, block):
    """Fills panels with a matrix (rows, width), or with its transpose."""
    one = weight.dtype.type(1)
    if turned:
        transpose_rows(target, rows, weight, 0, width, rows, one, block, micro)
    else:
        pack_rows(target, rows, weight, 0, width, rows, one, micro)


@inlined
def row_by_panel(out, row, column, width, x, x_row, inputs, panels, at, micro):
    """Fills the micro tile of out at a row and a column with the rows of x from x_row on, times a panel."""
    for r in range(row, row + ROWS):
        fetch_to_write(out, r * width + column)
    micro_set(out, row * width + column, width, x, x_row * inputs, inputs, 1, panels, at, micro, inputs)


@compiled
def rows_by_matrices(counter, rows, inputs, micro, x, panels, widths, outs):
    """Fills out = x w for each of three outs of these widths; the panels of the matrices follow each other."""
    tasks = (rows + BLOCK - 1) // BLOCK
    while True:
        task = next_task(counter)
        if task >= tasks:
            break
        # All matrices pass by a few rows, rather than all rows by a panel: what is written to memory is then written in its order.
        for row in range(task * BLOCK, min(rows, task * BLOCK + BLOCK), ROWS):
            at = 0
            for n in range(3):
                out, width = outs[n], widths[n]
                for column in range(0, width, micro):
                    row_by_panel(out, row, column, width, x, row, inputs, panels, at, micro)
                    at += inputs * micro


@inlined
def gradient_of_matrix(d_weight, x, d_out, rows, inputs, width, k0, column0, panel, micro):
    """Adds x^T d_out to INPUTS rows and OUTPUTS columns of a matrix's gradient, all rows of x in order."""
    one, last = x.dtype.type(1), min(width, column0 + OUTPUTS)
    for row in range(0, rows, BLOCK):
        depth = min(BLOCK, rows - row)
        for column in range(column0, last, micro):
            # Copied: rows of d_out a power of two apart would push each other out of the first cache.
            for r in range(depth):
                scale_row(panel, r * micro, d_out, (row + r) * width + column, one)
            next_row, next_column, beside = row, column + micro, k0 + column - column0
            if next_column >= last:
                next_row, next_column = row + BLOCK, column0
            for k in range(k0, min(inputs, k0 + INPUTS), ROWS):
                first = (k - k0) // ROWS * AHEAD
                for r in range(next_row + first, min(rows, next_row + first + AHEAD)):
                    fetch_to_read(d_out, r * width + next_column)
                if beside < inputs:
                    for r in range(row + BLOCK + first, min(rows, row + BLOCK + first + AHEAD)):
                        fetch_to_read(x, r * inputs + beside)
                micro_add(d_weight, k * width + column, width, x, row * inputs + k, 1, inputs, panel, 0, micro, depth)


@inlined
def gradient_of_rows(d_x, d_out, row, inputs, width, panels, at, micro):
    """Fills ROWS rows of d_x with d_out w^T."""
    for column in range(0, inputs, micro):
        row_by_panel(d_x, row, column, inputs, d_out, row, width, panels, at + column * width, micro)


@inlined
def gradient_of_rows_too(d_x, d_out, row, inputs, width, panels, at, micro):
    """Adds d_out w^T of another matrix to ROWS rows of d_x."""
    for column in range(0, inputs, micro):
        micro_add(d_x, row * inputs + column, inputs, d_out, row * width, width, 1, panels, at + column * width, micro, width)


@compiled
def gradients(counter, rows, inputs, micro, x, panels, widths, d_outs, d_x, d_weights):
    """Fills d_x = sum d_out w^T, and d_w = x^T d_out for each of three matrices.

    A task is a part of one d_w, for which it adds up all rows of x in order, or a block of rows of d_x.
    """
    panel = np.empty(BLOCK * micro, x.dtype)
    parts, tall = (inputs + INPUTS - 1) // INPUTS, 0
    for n in range(3):
        tall += (widths[n] + OUTPUTS - 1) // OUTPUTS * parts
    while True:
        task = next_task(counter)
        if task >= tall + (rows + BLOCK - 1) // BLOCK:
            break
        if task < tall:
            part, k0 = task // parts, task % parts * INPUTS
            for n in range(3):
                count = (widths[n] + OUTPUTS - 1) // OUTPUTS
                if 0 <= part < count:
                    gradient_of_matrix(d_weights[n], x, d_outs[n], rows, inputs, widths[n], k0, part * OUTPUTS, panel, micro)
                part -= count
        else:
            first = (task - tall) * BLOCK
            for row in range(first, min(rows, first + BLOCK), ROWS):
                gradient_of_rows(d_x, d_outs[0], row, inputs, widths[0], panels, 0, micro)
                at = inputs * widths[0]
                for n in range(1, 3):
                    if widths[n]:
                        gradient_of_rows_too(d_x, d_outs[n], row, inputs, widths[n], panels, at, micro)
                    at += inputs * widths[n]


def packed(weights: list[Array], turned: bool) -> Array:
    """Returns the panels of the matrices (inputs, width), one matrix after the other, or those of their transposes."""
    target, at = fresh(sum(weight.size for weight in weights), weights[0].dtype), 0
    size = target.itemsize
    for weight in weights:
        pack(target[at : at + weight.size], flat(weight), *weight.shape, turned, columns(size), lanes(size))
        at += weight.size
    return target


def parts_of(inputs: int, width: int) -> int:
    """Returns in how many tasks the gradient of a matrix (inputs, width) is computed."""
    return -(-inputs // INPUTS) * -(-width // OUTPUTS)


def in_numpy(x: Array, a: Array, b: Array | None, c: Array | None) -> tuple[Array, ...]:
    """Returns the same by functions that have rules."""
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return tuple((rows @ weight).reshape(*x.shape[:-1], weight.shape[-1]) for weight in (a, b, c) if weight is not None)


@again(in_numpy)
@primitive
def products(x: Array, a: Array, b: Array | None, c: Array | None) -> tuple[tuple[Array, ...], Any]:
    """Returns x a, x b and x c, as many as there are; x (..., inputs), matrices (inputs, width) that `fits` allows."""
    weights = [weight for weight in (a, b, c) if weight is not None]
    x_flat, inputs = flat(x), x.shape[-1]
    rows, widths = x.size // inputs, [weight.shape[1] for weight in weights] + [0] * (3 - len(weights))
    outs = [fresh(rows * width, x.dtype) for width in widths]
    share(rows_by_matrices, -(-rows // BLOCK), rows * inputs * sum(widths), rows, inputs, columns(x.itemsize), x_flat,
          packed(weights, False), tuple(widths), tuple(outs))
    made = tuple(out.reshape(*x.shape[:-1], width) for out, width in zip(outs, widths, strict=True) if width)
    return made, (x_flat, x.shape, weights, widths)


@products.backward_giving
def _(d_outs: tuple[Array, ...], saved: Any) -> dict[str, Array]:
    x, shape, weights, widths = saved
    inputs, size = shape[-1], x.itemsize
    rows, missing = x.size // inputs, 3 - len(weights)
    flats = tuple([flat(d_out) for d_out in d_outs] + [np.empty(0, x.dtype)] * missing)
    d_x, d_weights = fresh(x.size, x.dtype), [fresh(inputs * width, x.dtype) for width in widths]
    for d_weight in d_weights:
        d_weight[:] = 0
    tasks = -(-rows // BLOCK) + sum(parts_of(inputs, width) for width in widths)
    share(gradients, tasks, 2 * rows * inputs * sum(widths), rows, inputs, columns(size), x, packed(weights, True), tuple(widths),
          flats, d_x, tuple(d_weights))
    slopes = {name: d_w.reshape(weight.shape) for name, d_w, weight in zip("abc", d_weights, weights, strict=False)}
    return {"x": d_x.reshape(shape)} | slopes


def fits(x: Any, *weights: Any) -> bool:
    """Returns whether all sizes are whole micro tiles, and the matrices small enough to stay in the second cache."""
    micro, inputs = columns(x.dtype.itemsize), x.shape[-1]
    return (x.size > 0 and inputs % max(micro, ROWS) == 0 and x.size // inputs % ROWS == 0 and 0 < len(weights) < 4
            and sum(weight.shape[0] * weight.shape[1] for weight in weights) <= LARGEST
            and all(weight.shape[0] == inputs and weight.shape[1] % max(micro, ROWS) == 0 and weight.shape[1] for weight in weights))


def project(x: Array, *weights: Array) -> tuple[Array, ...]:
    """Returns x w for up to three matrices for which `fits` is true; arrays or Tensors of one dtype, float32 or float64."""
    a, b, c = (*weights, None, None)[:3]
    made: Any = products(x, a, b, c)
    return tuple(made)
