"""elu + 1, compiled: with NumPy this feature map takes longer than all that follows it."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.lanes import columns
from tinyattn.kernels.tiles.rows import again
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.kernels.tiles.vector import column_exp
from tinyattn.ops import features
from tinyattn.ops.types import Array

# Numbers of one task, few enough to stay in the first cache.
BLOCK = 4096


@compiled
def map_blocks(counter, x, out, width):
    """Fills out with x + 1 above 0 and e ** x elsewhere; a task is a block."""
    low, shift, spare = np.zeros(BLOCK, x.dtype), np.zeros(width, x.dtype), np.zeros(width, x.dtype)
    one, zero = x.dtype.type(1), x.dtype.type(0)
    while True:
        task = next_task(counter)
        if task * BLOCK >= x.size:
            break
        part, into = x[task * BLOCK : (task + 1) * BLOCK], out[task * BLOCK : (task + 1) * BLOCK]
        for i in range(part.size):
            low[i] = zero if part[i] > zero else part[i]
        column_exp(low, (part.size + width - 1) // width, width, shift, spare)
        for i in range(part.size):
            into[i] = part[i] + one if part[i] > zero else low[i]


@again(features.elu_plus_one)
@primitive
def elu_plus_one(x: Array) -> tuple[Array, Any]:
    """Returns (elu(x) + 1, what the backward reads)."""
    x = np.require(x, requirements=["C", "W"])
    out = np.empty(x.shape, x.dtype)
    run(map_blocks, -(-x.size // BLOCK), 8 * x.size, x.reshape(-1), out.reshape(-1), columns(x.dtype.itemsize))
    return out, (x, out)


@elu_plus_one.backward
def _(d_out: Array, saved: tuple[Array, Array]) -> dict[str, Array]:
    x, out = saved
    return {"x": np.where(x > 0, d_out, d_out * out)}
