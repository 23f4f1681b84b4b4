"""Parts of the backward of states of levels: what comes through pairs, through a node that is read, and through a chunk's own node."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.level_registers import slope_product
from tinyattn.kernels.states.level_tree import BLOCK, DEPTH, put_scaled
from tinyattn.kernels.states.rows import add_scaled, dot, dot_of_three, scaled_rows
from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import product_add
from tinyattn.kernels.tiles.vector import pack_rows, transpose_rows


@inlined
def pair_slopes(d_scales, at, levels, scores, between, d_scores, heights, lead, span, chunk):
    """Adds to the gradient of each row's scales what comes from the pairs on their level: the sum of scores, fading and gradient."""
    for i in range(lead, span):
        share, row, own = d_scales[at + (i - lead) * levels : at + (i - lead + 1) * levels], i * chunk, i - i % BLOCK
        for block in range(0, own, BLOCK):
            share[heights[i ^ block]] += dot_of_three(scores, row + block, between, row + block, d_scores, row + block, BLOCK)
        for j in range(own, i + 1):
            share[heights[i ^ j]] += scores[row + j] * between[row + j] * d_scores[row + j]


@inlined
def through_node(d_nodes, d_at, d_queries_t, total, scaled_t, queries_t, weights, nodes, at, d_tile_t, d_panels, span, sizes):
    """Adds what comes through O = diag(weights) Q S: to dQ^T, to dS, and for each row q_i^T S dO_i to total.

    Q^T, dQ^T and `scaled_t`, a tile for Q^T diag(weights), stand as [head_width][chunk], S and dS as [head_width][value_width].
    """
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    everywhere = chunk + head_width + value_width
    for i in range(span):
        total[i] = 0
    for column in range(0, span, micro):
        for row in range(0, head_width, ROWS):
            for start in range(0, sizes.value_dim, DEPTH):
                slope_product(total, d_queries_t, scaled_t, queries_t, row * chunk + column, chunk, weights, column, nodes,
                              at + row * value_width + start, value_width, d_tile_t, column * value_width + start * micro, micro,
                              min(DEPTH, sizes.value_dim - start))
    product_add(d_nodes, d_at, value_width, micro, scaled_t, 0, chunk, 1, d_panels, chunk * micro, head_width, value_width, span,
                micro, -everywhere, everywhere)


@inlined
def through_weights(d_scales, at, levels, flow, total, weights, since, factor, level, grown, lead, span):
    """Adds what comes through the weights of a node: to the gradient of the scales, and to the flow through its rows."""
    for i in range(lead, span):
        here = at + (i - lead) * levels + max(level, grown[i])
        d_scales[here] += since[i] * (factor * total[i])
        flow[i] += float(weights[i]) * total[i]


@inlined
def through_leaf(d_keys, d_x, d_leaf, d_leaf_t, d_leaf_panels, keys, faded, x_rows, until, span, sizes):
    """Adds what comes through the state (K until)^T X: X dS^T, still without `until`, to d_keys, and (K until) dS to d_x."""
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    everywhere, one = chunk + head_width + value_width, keys.dtype.type(1)
    transpose_rows(d_leaf_t, head_width, d_leaf, 0, value_width, head_width, one, sizes.lanes, micro)
    pack_rows(d_leaf_panels, head_width, d_leaf, 0, value_width, head_width, one, micro)
    scaled_rows(faded, keys, head_width, span, until, micro)
    product_add(d_keys, 0, head_width, micro, x_rows, 0, value_width, 1, d_leaf_t, value_width * micro, span, head_width,
                sizes.value_dim, micro, -everywhere, everywhere)
    product_add(d_x, 0, micro, chunk * micro, faded, 0, head_width, 1, d_leaf_panels, head_width * micro, span, value_width,
                sizes.head_dim, micro, -everywhere, everywhere)


@inlined
def through_closing(d_nodes, size, d_leaf, places, factors, at, total, closed):
    """Hands the gradient of the node that level `closed` has after a chunk to those that became it: the chunk's own, and others."""
    put_scaled(d_leaf, 0, d_nodes, closed * size, 1.0, size)
    for level in range(1, closed + 1):
        put_scaled(d_nodes, level * size, d_leaf, 0, factors[at + level] * total if places[at + level] >= 0 else 0.0, size)


@inlined
def through_last(d_nodes, size, d_last, places, factors, at, depth, level, grown):
    """Adds the gradient of a level's last state to that of the nodes in it, which are on the level `grown` at least."""
    for other in range(1, depth):
        if places[at + other] >= 0 and max(other, grown) == level:
            add_scaled(d_nodes, other * size, d_last, 0, d_nodes.dtype.type(factors[at + depth + other]), size)


@inlined
def crossing(nodes, d_nodes, size, places, at, depth):
    """Returns what the nodes before a chunk give to what is after it."""
    total = 0.0
    for level in range(1, depth):
        if places[at + level] >= 0:
            total += float(dot(nodes, places[at + level] * size, d_nodes, level * size, size))
    return total
