"""The backward of what the delta rule writes."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.fading import fade, fade_below
from tinyattn.kernels.states.rows import add_scaled, dot, scaled_rows
from tinyattn.kernels.states.solve import substitute_up
from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.vector import pack_rows, put_row


@reassociated
def pair_flow(flow, gram, pairs, strength, rows, width):
    """Adds to flow what A gives it, A_ij = strength_i gram_ij for j < i, where dA = -pairs."""
    for i in range(1, rows):
        factor, row, other = -float(strength[i]), gram[i * width : i * width + i], pairs[i * width : i * width + i]
        total = 0.0
        for j in range(i):
            part = factor * row[j] * other[j]
            flow[j] -= part
            total += part
        flow[i] += total


@inlined
def correction_gradients(d_x, d_keys, d_state, d_beta, token, flow, gram, pairs, read, tile, x_rows, x_t, keys, key_panels, keys_t,
                         faded, state_t, since, between, fades, strength, rows, sizes):
    """Replaces the panels dX by dV, fills d_beta, and adds to dK, dS and the decays' flow what the corrections give them.

    (I + A) X = beta R, R = V - since K S, so that (I + A)^T dR = dX, dV = beta dR, dS = -(since K)^T dV, and with pairs = dR X^T
    d_beta_i = dR_i . v_i - since_i k_i . (dR S^T)_i - sum_j gram_ij pairs_ij: no division by beta. `tile` comes as V; gram, pairs
    and read are tiles to work in.
    """
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    number = keys.dtype.type
    everywhere, nowhere = chunk + head_width + value_width, -chunk - head_width - value_width
    product_set(gram, 0, chunk, micro, keys, 0, head_width, 1, keys_t, head_width * micro, rows, rows, sizes.head_dim, micro,
                -chunk, 0)
    # The last micro tile is needed whole.
    for at in range((rows + ROWS - 1) // ROWS * ROWS * chunk):
        pairs[at] = gram[at]
    fade(gram, between, rows, chunk, micro)
    fade_below(pairs, between, strength, rows, chunk, micro)
    substitute_up(d_x, pairs, rows, chunk, value_width, micro)
    for i in range(rows):
        put_row(x_rows, i * value_width, value_width, d_x, i * micro, chunk * micro, number(1), micro)
    product_set(read, 0, head_width, micro, x_rows, 0, value_width, 1, state_t, value_width * micro, rows, head_width, sizes.value_dim,
                micro, nowhere, everywhere)
    product_set(pairs, 0, chunk, micro, x_rows, 0, value_width, 1, x_t, value_width * micro, rows, rows, sizes.value_dim, micro,
                -chunk, 0)
    for i in range(rows):
        seen = since[i] * dot(keys, i * head_width, read, i * head_width, head_width)
        d_beta[token + i] = (dot(x_rows, i * value_width, tile, i * value_width, value_width) - seen
                             - dot(gram, i * chunk, pairs, i * chunk, i))
        flow[i] -= strength[i] * seen
        add_scaled(d_keys, i * head_width, read, i * head_width, -since[i] * strength[i], head_width)
    if fades:
        pair_flow(flow, gram, pairs, strength, rows, chunk)
    fade_below(pairs, between, strength, rows, chunk, micro)
    product_add(d_keys, 0, head_width, micro, pairs, 0, chunk, 1, key_panels, chunk * micro, rows, head_width, rows, micro, -chunk, 0)
    product_add(d_keys, 0, head_width, micro, pairs, 0, 1, chunk, key_panels, chunk * micro, rows, head_width, rows, micro, 0, chunk)
    scaled_rows(tile, x_rows, value_width, rows, strength, micro)
    pack_rows(d_x, chunk, tile, 0, value_width, rows, number(1), micro)
    for i in range(rows):
        strength[i] = -since[i]
    scaled_rows(faded, keys, head_width, rows, strength, micro)
    product_add(d_state, 0, micro, head_width * micro, faded, 0, 1, head_width, d_x, chunk * micro, head_width, value_width, rows,
                micro, nowhere, everywhere)
