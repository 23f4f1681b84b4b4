"""From a tile of scores to weights in one step: e ** (x - shift) times a share, each column with its own shift and share."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.vector import by_column, in_numpy


def share_step(builder: ir.IRBuilder, x: ir.Value, shift: ir.Value, share: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns the share as it was, and e ** (x - shift) times the share."""
    return share, builder.fmul(lanes.exp(builder, builder.fsub(x, shift)), share)


column_share = (in_numpy(lambda tile, shift, share: (share, np.exp(tile - shift) * share)) if DISABLED
                else intrinsic(by_column(share_step)))
