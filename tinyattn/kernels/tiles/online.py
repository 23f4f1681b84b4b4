"""The step of an online softmax: a tile of scores becomes exponentials, and what the rows hold so far is scaled to match."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.vector import column_exp, column_max, scale_row


@inlined
def exponentials(s, keys, width, top, total, a, value_width, micro, begun, shift, kept, part, none, spare):
    """Replaces s [key][row] by exp(s - m'), m' = max(m, max s) of each row, and brings what the rows hold to the new m'.

    A row holds its top m, its total l, which becomes exp(m - m') l + sum exp(s - m'), and in a, in panels, a sum of values, which
    becomes exp(m - m') a. `begun` says whether anything is held yet. shift, kept, part are spaces of one number per row; `none`
    holds zeros.
    """
    nowhere = s.dtype.type(-np.inf)
    for i in range(width):
        kept[i] = top[i]
    column_max(s, keys, width, top, top)
    risen = False
    for i in range(width):
        shift[i] = top[i] if top[i] > nowhere else s.dtype.type(0)  # exp(-inf - -inf) would be NaN
        risen |= kept[i] != top[i]
        kept[i] -= shift[i]
    if risen and begun:
        column_exp(kept, 1, width, none, spare)
        for i in range(width):
            total[i] *= kept[i]
        for i in range(width):
            if kept[i] != 1:
                for panel in range(i * micro, width * value_width, width * micro):
                    scale_row(a, panel, a, panel, kept[i])
    for i in range(width):
        part[i] = 0
    column_exp(s, keys, width, shift, part)
    for i in range(width):
        total[i] += part[i]
