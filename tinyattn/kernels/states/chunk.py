"""What every kernel does with a chunk of tokens: where it ends, what its queries read, and what its tokens add to the state."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.product import product_add, product_set


@inlined
def end_of_chunk(start, sizes):
    """Returns where the chunk ends that begins at a key: the first token that has a query begins a chunk too."""
    first = sizes.kv_len - sizes.q_len
    return min(start + sizes.chunk, first if start < first else sizes.kv_len)


@inlined
def read_state(tile, queries, state, rows, sizes):
    """Fills the tile with Q S."""
    chunk, head_width, value_width, micro = sizes.chunk, sizes.head_width, sizes.value_width, sizes.micro_columns
    product_set(tile, 0, value_width, micro, queries, 0, head_width, 1, state, head_width * micro, rows, value_width, sizes.head_dim,
                micro, -chunk - value_width, chunk + value_width)


@inlined
def read_tokens(tile, scores, x, rows, sizes):
    """Adds M X to the tile, with the scores M on and below the diagonal and X in panels."""
    chunk, value_width, micro = sizes.chunk, sizes.value_width, sizes.micro_columns
    product_add(tile, 0, value_width, micro, scores, 0, chunk, 1, x, chunk * micro, rows, value_width, rows, micro, -chunk, 0)


@inlined
def add_tokens(state, keys, x, rows, sizes):
    """Adds K^T X to the state."""
    chunk, head_width, micro = sizes.chunk, sizes.head_width, sizes.micro_columns
    product_add(state, 0, micro, head_width * micro, keys, 0, 1, head_width, x, chunk * micro, head_width, sizes.value_width, rows,
                micro, -chunk - head_width, chunk)
