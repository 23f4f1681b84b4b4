"""The gradients of decays per channel, and of the scores within a block."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.channels import BLOCK, add_product, times
from tinyattn.kernels.tiles.jit import inlined, reassociated


@reassociated
def state_slope(bridge, factors, at, state, d_state, dim, columns, micro):
    """Fills bridge with each channel's factor times the inner product of its row of S and of dS'."""
    for d in range(dim):
        total = 0.0
        for column in range(0, columns, micro):
            for c in range(micro):
                x = np.uint64(column * dim + d * micro) + np.uint64(c)
                total += np.float64(state[x]) * d_state[x]
        bridge[d] = factors[at + d] * total


@reassociated
def collect(total, d_score, query, query_at, decay, decay_at, count):
    """Replaces total by (total + d_score query) decay."""
    for c in range(count):
        n = np.uint64(c)
        total[n] = (total[n] + d_score * query[np.uint64(query_at) + n]) * decay[np.uint64(decay_at) + n]


@inlined
def block_slopes(d_queries, d_keys, d_scores, queries, keys, decay, key, ones, start, rows, chunk, width):
    """Adds to dQ and dK what the scores between different tokens of one block give them."""
    stop = min(start + BLOCK, rows)
    for j in range(start, stop):
        times(key, 0, keys, j * width, ones, 0, width)
        for i in range(j + 1, stop):
            times(key, 0, key, 0, decay, i * width, width)
            add_product(d_queries, i * width, key, 0, ones, 0, d_scores[i * chunk + j], width)
        for d in range(width):
            key[d] = 0
        for i in range(stop - 1, j, -1):
            collect(key, d_scores[i * chunk + j], queries, i * width, decay, i * width, width)
        add_product(d_keys, j * width, key, 0, ones, 0, key.dtype.type(1), width)


@inlined
def decay_slopes(d_log_decay, token, decay, flow, keys, d_state_keys, bridge, total, rows, width, dim):
    """Fills the gradient of each log decay: the flow from its token on, what earlier keys leave to the next chunk, the state's.

    It is exactly 0 where the decay is 0.
    """
    for d in range(dim):
        total[d] = bridge[d]
    for t in range(rows - 1, -1, -1):
        for d in range(dim):
            total[d] += flow[t * width + d]
            d_log_decay[(token + t) * dim + d] = total[d]
    for d in range(dim):
        total[d] = 0
    for t in range(rows):
        for d in range(dim):
            at = (token + t) * dim + d
            d_log_decay[at] = d_log_decay[at] + total[d] if decay[t * width + d] > 0 else 0.0
            total[d] += keys[t * width + d] * d_state_keys[t * width + d]
