"""RMS norm and layer norm, a row at a time."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.steps.registers import again, alike, bare
from tinyattn.kernels.tiles.jit import compiled, reassociated
from tinyattn.kernels.tiles.threads import next_task, share
from tinyattn.ops import norm
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# Rows of one task.
BLOCK = 64
# What an element costs, in multiply-adds of a product.
WORK = 16
# Rows whose sums of squares are right in their dtype: no number above the first, and an epsilon of at least the second.
SAFE = {np.dtype(np.float32): (1e15, 1e-30), np.dtype(np.float64): (1e150, 1e-290)}


@reassociated
def sum_of(x):
    """Returns the sum of a row."""
    total = x.dtype.type(0)
    for c in range(x.size):
        total += x[c]
    return total


@reassociated
def product_of(x, y):
    """Returns the sum of x y of two rows."""
    total = x.dtype.type(0)
    for c in range(x.size):
        total += x[c] * y[c]
    return total


@reassociated
def spread_of(x, mean):
    """Returns the sum of (x - mean)^2 of a row."""
    total = x.dtype.type(0)
    for c in range(x.size):
        total += (x[c] - mean) * (x[c] - mean)
    return total


@compiled
def norm_rows(counter, x, weight, bias, epsilon, centred, out, means, scales):
    """Fills out = (x - mean) scale weight + bias, and each row's mean and scale; without `centred` the mean is 0."""
    one, width = x.dtype.type(1), x.dtype.type(x.shape[1])
    while True:
        task = next_task(counter)
        if task * BLOCK >= x.shape[0]:
            break
        for r in range(task * BLOCK, min(x.shape[0], task * BLOCK + BLOCK)):
            row, made = x[r], out[r]
            mean = x.dtype.type(0)
            if centred:
                mean = sum_of(row) / width
            scale = one / np.sqrt(spread_of(row, mean) / width + x.dtype.type(epsilon))
            means[r], scales[r] = mean, scale
            for c in range(row.size):
                made[c] = (row[c] - mean) * scale * weight[c] + bias[c]


@compiled
def norm_rows_back(counter, x, weight, centred, d_out, means, scales, d_x, d_weight, d_bias):
    """Fills d_x, and per block of rows the sums of d_weight and d_bias.

    With n = (x - mean) scale and g = d_out weight, d_x = scale (g - n mean(g n) - mean(g)), the last mean where `centred`.
    """
    width = x.dtype.type(x.shape[1])
    g, n = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    while True:
        task = next_task(counter)
        if task * BLOCK >= x.shape[0]:
            break
        d_w, d_b = d_weight[task], d_bias[task]
        for c in range(d_w.size):
            d_w[c] = 0
            d_b[c] = 0
        for r in range(task * BLOCK, min(x.shape[0], task * BLOCK + BLOCK)):
            row, came, made = x[r], d_out[r], d_x[r]
            mean, scale = means[r], scales[r]
            for c in range(row.size):
                n[c] = (row[c] - mean) * scale
                g[c] = came[c] * weight[c]
            for c in range(row.size):
                d_w[c] += came[c] * n[c]
            if centred:
                for c in range(row.size):
                    d_b[c] += came[c]
            along, level = product_of(g, n) / width, x.dtype.type(0)
            if centred:
                level = sum_of(g) / width
            for c in range(row.size):
                made[c] = scale * (g[c] - n[c] * along - level)


def normed(x: Array, weight: Array | None, bias: Array | None, epsilon: float, centred: bool) -> tuple[Array, Any]:
    """Returns the normed rows, and what their gradient reads."""
    rows = np.require(x.reshape(-1, x.shape[-1]), requirements=["C", "W"])
    factor = np.ones(x.shape[-1], x.dtype) if weight is None else np.require(weight, requirements=["C", "W"])
    shift = np.zeros(x.shape[-1], x.dtype) if bias is None else np.require(bias, requirements=["C", "W"])
    out, means, scales = np.empty(rows.shape, x.dtype), np.empty(len(rows), x.dtype), np.empty(len(rows), x.dtype)
    share(norm_rows, -(-len(rows) // BLOCK), WORK * x.size, rows, factor, shift, epsilon, centred, out, means, scales)
    return out.reshape(x.shape), (rows, factor, centred, means, scales)


def slopes(d_out: Array, saved: Any) -> dict[str, Array]:
    """Returns the gradients of x, the weight and the bias."""
    rows, factor, centred, means, scales = saved
    d_rows, blocks = np.require(d_out.reshape(rows.shape), requirements=["C", "W"]), -(-len(rows) // BLOCK)
    d_x, d_weight = np.empty(rows.shape, rows.dtype), np.empty((blocks, rows.shape[1]), rows.dtype)
    d_bias = np.empty_like(d_weight)
    share(norm_rows_back, blocks, WORK * rows.size, rows, factor, centred, d_rows, means, scales, d_x, d_weight, d_bias)
    return {"x": d_x.reshape(d_out.shape), "weight": d_weight.sum(axis=0), "bias": d_bias.sum(axis=0)}


def rms_norm_in_numpy(x: Array, weight: Array | None, epsilon: float) -> Array:
    """Returns the same by functions that have rules."""
    return norm.rms_norm(x, weight, epsilon=epsilon)


@again(rms_norm_in_numpy)
@primitive
def rms_norm_primitive(x: Array, weight: Array | None, epsilon: float) -> tuple[Array, Any]:
    """Returns RMS norm of rows whose squares neither overflow nor underflow."""
    return normed(x, weight, None, epsilon, False)


@rms_norm_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    return {name: slope for name, slope in slopes(d_out, saved).items() if name != "bias"}


def layer_norm_in_numpy(x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
    """Returns the same by functions that have rules."""
    return norm.layer_norm(x, weight, bias, epsilon=epsilon)


@again(layer_norm_in_numpy)
@primitive
def layer_norm_primitive(x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> tuple[Array, Any]:
    """Returns layer norm of rows whose squares neither overflow nor underflow."""
    return normed(x, weight, bias, epsilon, True)


@layer_norm_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    return slopes(d_out, saved)


def safe(x: Any, epsilon: float, *others: Any) -> bool:
    """Returns whether the kernel computes such rows: one dtype, one weight per channel, squares that fit."""
    if not alike(x, *others) or not x.ndim or not x.size or any(y is not None and y.shape != x.shape[-1:] for y in others):
        return False
    rows = bare(x)
    most, least = SAFE[rows.dtype]
    return type(epsilon) is float and least <= epsilon < np.inf and bool(rows.max() < most) and bool(rows.min() > -most)


@widened
def rms_norm(x: Array, weight: Array | None = None, *, epsilon: float = 1e-6) -> Array:
    """Returns `tinyattn.ops.rms_norm` by the kernel; what `safe` excludes is left to that."""
    if safe(x, epsilon, weight):
        return rms_norm_primitive(x, weight, epsilon)
    return norm.rms_norm(x, weight, epsilon=epsilon)


@widened
def layer_norm(x: Array, weight: Array | None = None, bias: Array | None = None, *, epsilon: float = 1e-5) -> Array:
    """Returns `tinyattn.ops.layer_norm` by the kernel; what `safe` excludes is left to that."""
    if safe(x, epsilon, weight, bias):
        return layer_norm_primitive(x, weight, bias, epsilon)
    return norm.layer_norm(x, weight, bias, epsilon=epsilon)
