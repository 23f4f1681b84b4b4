"""How far a state has faded between two tokens of a chunk: running products of the decays.

Products, and never exponentials of sums: nothing overflows, nothing cancels, and a decay of 0 clears what stands before it.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.registers import keep_row
from tinyattn.kernels.tiles.jit import inlined, reassociated


@inlined
def fill_fading(since, until, between, decay, at, rows, width, running):
    """Fills since[i], until[j] and between[i][j]: the products of the decays up to token i, of those after j, and of both.

    They are taken in float64, whatever is stored.
    """
    total = 1.0
    for i in range(rows):
        total *= decay[at + i]
        since[i] = total
    total = 1.0
    for i in range(rows - 1, -1, -1):
        until[i] = total
        total *= decay[at + i]
    for i in range(rows):
        factor, row = decay[at + i], between[i * width : i * width + i + 1]
        for j in range(i):
            running[j] *= factor
            row[j] = running[j]
        running[i] = 1.0
        row[i] = 1


@inlined
def fade(scores, between, rows, width, micro):
    """Multiplies scores [rows][width] by between on and below the diagonal, and clears the rest of its micro tiles."""
    for i in range(rows):
        for c in range(0, i + 1, micro):
            keep_row(scores, i * width + c, between, i * width + c, scores.dtype.type(1), i + 1 - c)


@inlined
def fade_below(scores, between, strength, rows, width, micro):
    """Multiplies row i of scores by -strength[i] between below the diagonal, and clears the rest of its micro tiles."""
    for i in range(rows):
        for c in range(0, i + 1, micro):
            keep_row(scores, i * width + c, between, i * width + c, -strength[i], i - c)


@reassociated
def flow_of(flow, scores, d_scores, rows, width):
    """Adds scores d_scores, the pair's part of each decay between its key and its query, to the query and takes it off the key.

    Summed over all tokens from t on, this is the sum over the pairs that t stands between. The sums are in float64, where what
    should cancel does.
    """
    for i in range(rows):
        row, other = scores[i * width : i * width + i], d_scores[i * width : i * width + i]
        total = 0.0
        for j in range(i):
            part = row[j] * other[j]
            flow[j] -= part
            total += part
        flow[i] += total


@inlined
def decay_gradient(d_log_decay, at, decay, flow, later, bridge, rows):
    """Fills the gradient of each log decay: the flow from its token on, what earlier keys leave to the next chunk, the state's.

    It is exactly 0 where the decay is 0.
    """
    total = bridge
    for t in range(rows - 1, -1, -1):
        total += flow[t]
        d_log_decay[at + t] = total
    total = 0.0
    for t in range(rows):
        d_log_decay[at + t] = d_log_decay[at + t] + total if decay[at + t] > 0 else 0.0
        total += later[t]
