"""Feature maps inside the kernels: of rows that have just been loaded, so that mapped queries and keys are never whole arrays."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.rows import load_rows
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED, compiled, inlined, reassociated
from tinyattn.kernels.tiles.lanes import INT, columns
from tinyattn.kernels.tiles.rows import again
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.ops import activation, features
from tinyattn.ops.types import Array

# What the kernels are told of the feature map: these numbers.
NONE, ELU, RELU, COSINE, TAYLOR = 0, 1, 2, 3, 4
# Numbers of one task, few enough to stay in the first cache.
BLOCK = 4096


def number_of(feature_map: Any) -> int | None:
    """Returns the number of a feature map, or None where the kernels do not have it."""
    if feature_map is None:
        return NONE
    known = ((features.elu_plus_one, ELU), (activation.relu, RELU), (features.taylor_features, TAYLOR))
    return next((number for known_map, number in known if feature_map is known_map), None)


def row_by(step: Callable[[ir.IRBuilder, ir.Value], ir.Value]) -> Callable[..., Any]:
    """Returns the intrinsic (x, at) that replaces each number of a micro tile's row by `step(builder, number)`."""
    def typed(_context: Any, x: Any, at: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            start = builder.gep(context.make_array(x)(context, builder, arguments[0]).data, [arguments[1]])
            for part in range(lanes.VECTORS):
                place = builder.gep(start, [INT(part * vector.count)])
                lanes.store(builder, step(builder, lanes.load(builder, place, vector)), place)
            return context.get_dummy_value()

        vector = lanes.vector_type(x.dtype)
        return types.void(x, types.intp), generate

    return lambda context, x, at: typed(context, x, at)


def slope_by(step: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Callable[..., Any]:
    """Returns the intrinsic (d, d_at, f, f_at) that replaces gradients d of features f by `step(builder, d, f)`."""
    def typed(_context: Any, d: Any, d_at: Any, f: Any, f_at: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            start, other = (builder.gep(context.make_array(kind)(context, builder, array).data, [at])
                            for kind, array, at in ((d, *arguments[:2]), (f, *arguments[2:])))
            for part in range(lanes.VECTORS):
                place, read = (builder.gep(x, [INT(part * vector.count)]) for x in (start, other))
                lanes.store(builder, step(builder, lanes.load(builder, place, vector), lanes.load(builder, read, vector)), place)
            return context.get_dummy_value()

        vector = lanes.vector_type(d.dtype)
        return types.void(d, types.intp, f, types.intp), generate

    return lambda context, d, d_at, f, f_at: typed(context, d, d_at, f, f_at)


def elu_step(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns x + 1 above 0 and e ** x elsewhere."""
    zero = lanes.constant(x.type, 0.0)
    above = builder.fcmp_ordered(">", x, zero)
    return builder.select(above, builder.fadd(x, lanes.constant(x.type, 1.0)), lanes.exp(builder, builder.select(above, zero, x)))


def elu_slope(builder: ir.IRBuilder, d: ir.Value, f: ir.Value) -> ir.Value:
    """Returns the gradient before the map: its slope is 1 where the feature is above 1, elsewhere the feature itself."""
    return builder.select(builder.fcmp_ordered(">", f, lanes.constant(f.type, 1.0)), d, builder.fmul(d, f))


def relu_step(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns x above 0 and 0 elsewhere."""
    zero = lanes.constant(x.type, 0.0)
    return builder.select(builder.fcmp_ordered(">", x, zero), x, zero)


def relu_slope(builder: ir.IRBuilder, d: ir.Value, f: ir.Value) -> ir.Value:
    """Returns the gradient before the map: its slope is 1 where the feature is above 0, elsewhere 0."""
    zero = lanes.constant(f.type, 0.0)
    return builder.select(builder.fcmp_ordered(">", f, zero), d, zero)


def row_in_numpy(step: Callable[[Any], Any]) -> Callable[..., None]:
    """Returns what `row_by` returns, in NumPy, for when nothing is compiled."""
    def mapped(x: Any, at: int) -> None:
        row = slice(at, at + lanes.columns(x.itemsize))
        with np.errstate(all="ignore"):
            x[row] = step(x[row])

    return mapped


def slope_in_numpy(step: Callable[[Any, Any], Any]) -> Callable[..., None]:
    """Returns what `slope_by` returns, in NumPy, for when nothing is compiled."""
    def sloped(d: Any, d_at: int, f: Any, f_at: int) -> None:
        count = lanes.columns(d.itemsize)
        with np.errstate(all="ignore"):
            d[d_at : d_at + count] = step(d[d_at : d_at + count], f[f_at : f_at + count])

    return sloped


if DISABLED:
    elu_row, relu_row = row_in_numpy(features.elu_plus_one), row_in_numpy(activation.relu)
    elu_slope_row = slope_in_numpy(lambda d, f: np.where(f > 1, d, d * f))
    relu_slope_row = slope_in_numpy(lambda d, f: np.where(f > 0, d, 0))
else:
    elu_row, relu_row = intrinsic(row_by(elu_step)), intrinsic(row_by(relu_step))
    elu_slope_row, relu_slope_row = intrinsic(slope_by(elu_slope)), intrinsic(slope_by(relu_slope))


@reassociated
def wave_row(target, first, source, at, half, cos, sin):
    """Fills two halves of a row of features with the positive parts of the source's row times cos and times sin."""
    x, left, right = source[at : at + half], target[first : first + half], target[first + half : first + 2 * half]
    zero = target.dtype.type(0)
    for c in range(half):
        positive = x[c] if x[c] > 0 else zero
        left[c] = positive * cos
        right[c] = positive * sin


@reassociated
def before_wave_row(d, mapped, first, half, cos, sin):
    """Replaces the first half of a row of gradients of such features by the gradient of what was mapped."""
    d_left, d_right = d[first : first + half], d[first + half : first + 2 * half]
    left, right, zero = mapped[first : first + half], mapped[first + half : first + 2 * half], d.dtype.type(0)
    for c in range(half):
        d_left[c] = cos * d_left[c] + sin * d_right[c] if left[c] != 0 or right[c] != 0 else zero


@inlined
def load_features(target, width, filled, source, at, step, rows, dim, feature, waves, place, micro):
    """Fills target [filled][width] with the `dim` features of the rows of source, and with zeros where there are none.

    `waves` holds the cosine of every position and then the sine; the first row stands at number `place` of them. Without a map
    `feature` is NONE, or None where none is compiled.
    """
    if feature is None:
        load_rows(target, width, filled, source, at, step, rows, dim, target.dtype.type(1), micro)
        return
    if feature == COSINE:
        for r in range(rows):
            wave_row(target, r * width, source, at + r * step, dim // 2, waves[place + r], waves[waves.size // 2 + place + r])
        for x in range(rows * width, filled * width):
            target[x] = 0
    else:
        load_rows(target, width, filled, source, at, step, rows, dim, target.dtype.type(1), micro)
    if feature == NONE:
        return
    for r in range(rows):
        for c in range(r * width, (r + 1) * width if feature != COSINE else 0, micro):
            if feature == ELU:
                elu_row(target, c)
            else:
                relu_row(target, c)
        for c in range(r * width + dim, (r + 1) * width):
            target[c] = 0


@inlined
def before_features(d, mapped, width, rows, dim, feature, waves, place, micro):
    """Replaces the gradient of rows of `dim` features by that of what was mapped: for waves the first half of each row."""
    if feature is None:
        return
    if feature == COSINE:
        for r in range(rows):
            before_wave_row(d, mapped, r * width, dim // 2, waves[place + r], waves[waves.size // 2 + place + r])
        return
    for c in range(0, rows * width if feature != NONE else 0, micro):
        if feature == ELU:
            elu_slope_row(d, c, mapped, c)
        else:
            relu_slope_row(d, c, mapped, c)


@inlined
def mapped_dim(dim, feature):
    """Returns how many numbers `dim` features are made of."""
    if feature is None:
        return dim
    return dim // 2 if feature == COSINE else dim


@compiled
def map_blocks(counter, x, out, micro):
    """Fills out with x + 1 above 0 and e ** x elsewhere; a task is a block."""
    block = np.zeros(BLOCK, x.dtype)
    while True:
        start = next_task(counter) * BLOCK
        if start >= x.size:
            break
        count = min(BLOCK, x.size - start)
        load_features(block, BLOCK, 1, x, start, BLOCK, 1, count, ELU, x, 0, micro)
        for i in range(count):
            out[start + i] = block[i]


@again(features.elu_plus_one)
@primitive
def elu_plus_one(x: Array) -> tuple[Array, Any]:
    """Returns (elu(x) + 1, what the backward reads): with NumPy this map takes longer than all that follows it."""
    x = np.require(x, requirements=["C", "W"])
    out = np.empty(x.shape, x.dtype)
    run(map_blocks, -(-x.size // BLOCK), 8 * x.size, x.reshape(-1), out.reshape(-1), columns(x.dtype.itemsize))
    return out, (x, out)


@elu_plus_one.backward
def _(d_out: Array, saved: tuple[Array, Array]) -> dict[str, Array]:
    x, out = saved
    return {"x": np.where(x > 0, d_out, d_out * out)}
