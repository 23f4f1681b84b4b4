"""What every kernel does with a chunk of tokens: where it ends, what its queries read, what its tokens add, and the backward."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.product import product_add, product_set


@inlined
def end_of_chunk(start, sizes):
    """Returns where the chunk ends that begins at a key: the first token that has a query begins a chunk too."""
    first = sizes.kv_len - sizes.q_len
    return min(start + sizes.kv_tile, first if start < first else sizes.kv_len)


@inlined
def read_state(tile, queries, state, rows, sizes):
    """Fills the tile with Q S."""
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    product_set(tile, 0, value_width, micro, queries, 0, head_width, 1, state, head_width * micro, rows, value_width, sizes.head_dim,
                micro, -chunk - value_width, chunk + value_width)


@inlined
def read_tokens(tile, scores, x, rows, sizes):
    """Adds M X to the tile, with the scores M on and below the diagonal and X in panels."""
    chunk, value_width, micro = sizes.kv_tile, sizes.value_width, sizes.micro_columns
    product_add(tile, 0, value_width, micro, scores, 0, chunk, 1, x, chunk * micro, rows, value_width, rows, micro, -chunk, 0)


@inlined
def add_tokens(state, keys, x, rows, sizes):
    """Adds K^T X to the state."""
    chunk, head_width, micro = sizes.kv_tile, sizes.head_width, sizes.micro_columns
    product_add(state, 0, micro, head_width * micro, keys, 0, 1, head_width, x, chunk * micro, head_width, sizes.value_width, rows,
                micro, -chunk - head_width, chunk)


@inlined
def through_pairs(d_scores, d_tile, x_t, rows, sizes):
    """Fills the gradients of the scores, dO X^T, on and below the diagonal."""
    chunk, value_width, micro = sizes.kv_tile, sizes.value_width, sizes.micro_columns
    product_set(d_scores, 0, chunk, micro, d_tile, 0, value_width, 1, x_t, value_width * micro, rows, rows, sizes.value_dim, micro,
                -chunk, 0)


@inlined
def through_reads(d_queries, d_tile, state_t, rows, sizes):
    """Fills the gradients of the queries by the state, dO S^T."""
    head_width, value_width, micro = sizes.head_width, sizes.value_width, sizes.micro_columns
    everywhere = sizes.kv_tile + head_width + value_width
    product_set(d_queries, 0, head_width, micro, d_tile, 0, value_width, 1, state_t, value_width * micro, rows, head_width,
                sizes.value_dim, micro, -everywhere, everywhere)


@inlined
def through_state(d_keys, x_rows, d_state_t, rows, sizes):
    """Fills the gradient of the keys by the state, X dS^T."""
    head_width, value_width, micro = sizes.head_width, sizes.value_width, sizes.micro_columns
    everywhere = sizes.kv_tile + head_width + value_width
    product_set(d_keys, 0, head_width, micro, x_rows, 0, value_width, 1, d_state_t, value_width * micro, rows, head_width,
                sizes.value_dim, micro, -everywhere, everywhere)


@inlined
def through_keys(d_x, keys, d_state, rows, sizes):
    """Fills the panels d_x with the gradient of X by the state, K dS."""
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    everywhere = chunk + head_width + value_width
    product_set(d_x, 0, micro, chunk * micro, keys, 0, head_width, 1, d_state, head_width * micro, rows, value_width,
                sizes.head_dim, micro, -everywhere, everywhere)


@inlined
def through_scores(d_x, scores, d_panels, rows, sizes):
    """Adds M^T dO to the panels d_x, with the scores M on and below the diagonal."""
    chunk, value_width, micro = sizes.kv_tile, sizes.value_width, sizes.micro_columns
    product_add(d_x, 0, micro, chunk * micro, scores, 0, 1, chunk, d_panels, chunk * micro, rows, value_width, rows, micro, 0, chunk)
