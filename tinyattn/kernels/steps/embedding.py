"""Rows of a table, whose gradient is added up in the order of the tokens."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.steps.registers import again, alike
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.threads import next_task, share
from tinyattn.ops.types import Array

# Columns of one task.
COLUMNS = 64
# What an element costs, in multiply-adds of a product.
WORK = 16


@compiled
def add_rows(counter, tokens, d_out, d_table):
    """Adds each row of d_out to the row of its token; a task is some columns, for which it takes the tokens in order."""
    width = d_table.shape[1]
    while True:
        first = next_task(counter) * COLUMNS
        if first >= width:
            break
        last = min(width, first + COLUMNS)
        for n in range(tokens.size):
            into, row = d_table[tokens[n], first:last], d_out[n, first:last]
            for c in range(last - first):
                into[c] += row[c]


def in_numpy(table: Array, tokens: Array) -> Array:
    """Returns the same by functions that have rules."""
    return table[tokens]


@again(in_numpy)
@primitive
def embedding_primitive(table: Array, tokens: Array) -> tuple[Array, Any]:
    """Returns table[tokens] of a table (vocab, width) and tokens from 0 to vocab - 1."""
    return table[tokens], (table.shape, tokens)


@embedding_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    shape, tokens = saved
    rows = np.require(d_out.reshape(-1, shape[1]), requirements=["C", "W"])
    d_table = np.zeros(shape, rows.dtype)
    share(add_rows, -(-shape[1] // COLUMNS), WORK * rows.size, np.require(tokens.reshape(-1), np.int64, ["C", "W"]), rows, d_table)
    return {"table": d_table}


def embedding(table: Array, tokens: Array) -> Array:
    """Returns table[tokens], its gradient by the kernel; indices from the end and tables with other axes are left to NumPy."""
    if (alike(table) and table.ndim == 2 and type(tokens) is np.ndarray and tokens.dtype.kind in "iu" and tokens.size and table.size
            and 0 <= tokens.min() and tokens.max() < table.shape[0]):
        return embedding_primitive(table, tokens)
    return table[tokens]
