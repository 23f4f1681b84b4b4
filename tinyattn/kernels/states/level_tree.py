"""The past of a chunk as states of levels: nodes of a tree, weighed by what each query gives their level."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.level_registers import weigh_product
from tinyattn.kernels.states.rows import add_scaled, load_rows, scaled_rows
from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import micro_set, product_set

# Columns of a row of scores that are taken together where they are on one level.
BLOCK = 16
# Products that a register sums before the sum is added to those of others.
DEPTH = 64


@inlined
def fill_heights(heights):
    """Fills heights[x] with the number of bits of x: the level on which tokens see each other that differ by the bits of x."""
    for x in range(1, heights.size):
        heights[x] = heights[x // 2] + 1


@inlined
def closed_at(token):
    """Returns how many of the lowest levels are added into the next one before a token, of which the first is 0."""
    closed = 1
    while token % 2 == 0:
        token //= 2
        closed += 1
    return closed


@inlined
def add_closed(nodes, size, place, factors, closed):
    """Adds the nodes of all levels up to `closed` to that of level 0, which becomes the node of level `closed`."""
    target = place[0]
    for level in range(1, closed + 1):
        if place[level] >= 0:
            add_scaled(nodes, target * size, nodes, place[level] * size, nodes.dtype.type(factors[level]), size)
            place[level] = -1
    place[0], place[closed], factors[closed] = -1, target, 1.0


@inlined
def place_rows(tile, width, lead, source, at, step, rows, dim, factor, chunk, micro):
    """Fills a tile [chunk][width] with rows from row `lead` on, and with zeros around them."""
    for x in range(lead * width):
        tile[x] = 0
    load_rows(tile[lead * width :], width, chunk - lead, source, at, step, rows, dim, factor, micro)


@inlined
def place_decays(rates, lead, decay, at, rows):
    """Fills the decays of a chunk's rows from row `lead` on, and 1 before them."""
    for i in range(lead):
        rates[i] = 1.0
    for i in range(rows):
        rates[lead + i] = decay[at + i]


@inlined
def fill_until(until, rates, span):
    """Fills until[j] with the product of the decays after row j, and returns that of all."""
    total = 1.0
    for j in range(span - 1, -1, -1):
        until[j] = total
        total *= rates[j]
    return total


@inlined
def weigh_pairs(weighed, between, scales, at, levels, heights, lead, span, chunk):
    """Fills weighed[i][j] with between[i][j] times the scale that row i gives the level on which it sees row j."""
    for i in range(lead, span):
        share = scales[at + (i - lead) * levels : at + (i - lead + 1) * levels]
        row, target = between[i * chunk : (i + 1) * chunk], weighed[i * chunk : (i + 1) * chunk]
        own = i - i % BLOCK
        for block in range(0, own, BLOCK):
            factor = share[heights[i ^ block]]
            for j in range(block, block + BLOCK):
                target[j] = factor * row[j]
        for j in range(own, i + 1):
            target[j] = share[heights[i ^ j]] * row[j]


@inlined
def fill_weights(weights, since, factor, scales, at, levels, level, grown, lead, span):
    """Fills the factor of each row that reads a node: its decay since the node's end, and the scale of the level it is on by then."""
    for i in range(lead, span):
        here = max(level, grown[i])
        weights[i] = since[i] * (factor * scales[at + (i - lead) * levels + here])


@inlined
def read_pairs(tile, scores, x, span, sizes):
    """Fills the tile with M X, with the scores M on and below the diagonal and X in panels."""
    chunk, value_width, micro = sizes.kv_tile, sizes.value_width, sizes.micro_columns
    for column in range(0, value_width, micro):
        for row in range(0, span, ROWS):
            micro_set(tile, row * value_width + column, value_width, scores, row * chunk, chunk, 1, x, column * chunk, micro,
                      min(span, row + ROWS))


@inlined
def read_node(tile, queries, nodes, at, weights, span, sizes):
    """Adds diag(weights) Q S to the tile, with the state S in panels that begin at a place of `nodes`."""
    head_width, value_width, micro = sizes.head_width, sizes.value_width, sizes.micro_columns
    for column in range(0, value_width, micro):
        for row in range(0, span, ROWS):
            for start in range(0, sizes.head_dim, DEPTH):
                weigh_product(tile, row * value_width + column, value_width, queries, row * head_width + start, head_width, nodes,
                              at + column * head_width + start * micro, micro, min(DEPTH, sizes.head_dim - start), weights, row)


@inlined
def fill_leaf(nodes, at, row, panel, keys, faded, until, x, span, sizes):
    """Fills a state with (K until)^T X; `row` and `panel` are the steps from one of its rows and panels to the next."""
    chunk, head_width, micro = sizes.kv_tile, sizes.head_width, sizes.micro_columns
    everywhere = chunk + head_width + sizes.value_width
    scaled_rows(faded, keys, head_width, span, until, micro)
    product_set(nodes, at, row, panel, faded, 0, 1, head_width, x, chunk * micro, head_width, sizes.value_width, span, micro,
                -everywhere, everywhere)


@inlined
def only_level(target, source, width, span, heights, level):
    """Fills target with the rows of source [span][width] that the last of them sees on a level, and with zeros elsewhere."""
    for i in range(span):
        here = source.dtype.type(1 if heights[(span - 1) ^ i] == level else 0)
        for c in range(i * width, (i + 1) * width):
            target[c] = here * source[c]


@reassociated
def all_finite(nodes, at, count):
    """Returns whether so many numbers are finite."""
    total = nodes.dtype.type(0)
    row = nodes[at : at + count]
    for c in range(count):
        total += row[c] * nodes.dtype.type(0)
    return bool(total == 0)


@inlined
def any_number(nodes, at, count):
    """Returns whether any of so many numbers is not 0."""
    for x in range(at, at + count):
        if nodes[x] != 0:
            return True
    return False


@inlined
def free_node(place):
    """Returns the first node that is at no level."""
    node = 0
    while True:
        used = False
        for level in range(place.size):
            if place[level] == node:
                used = True
        if not used:
            return node
        node += 1
