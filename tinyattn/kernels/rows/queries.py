"""Tiles of queries in a backward: which task takes one, and what it reads of one."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.vector import pack_rows, transpose_rows


@inlined
def takes(split, unit, splits):
    """Returns whether a split takes a tile of queries: dealt forth and back, as causal tiles take longer the later they are."""
    turn = unit % (2 * splits)
    return min(turn, 2 * splits - 1 - turn) == split


@inlined
def read_queries(q_t, q_panels, d_out_t, d_out_panels, q, d_out, line, rows, sizes, factor, scale):
    """Fills tiles with the queries and the gradients of their results: turned for scores, and in panels for sums over queries."""
    width, micro, one = sizes.q_tile, sizes.micro_columns, q.dtype.type(1)
    head_width, value_width = sizes.head_width, sizes.value_width
    transpose_rows(q_t, width, q, line * head_width, head_width, rows, factor, sizes.lanes, micro)
    pack_rows(q_panels, width, q, line * head_width, head_width, rows, scale, micro)
    transpose_rows(d_out_t, width, d_out, line * value_width, value_width, rows, one, sizes.lanes, micro)
    pack_rows(d_out_panels, width, d_out, line * value_width, value_width, rows, one, micro)
