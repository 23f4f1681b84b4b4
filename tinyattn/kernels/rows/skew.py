"""Tiles read along their diagonals: products by distance are added to scores by key, a square block of registers at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT


def skew(back: bool) -> Callable[..., Any]:
    """Returns the intrinsic (s, p, keys, width): s[j][i] += p[j - i + width - 1][i], or p += s along the same places if `back`.

    s has `keys` rows, p keys + width, both `width` columns; keys and width are multiples of the lanes. Of a square block, lane l moves
    by lanes - 1 - l rows: once for each bit of that number, a blend of neighbouring registers.
    """
    def typed(_context: Any, s: Any, p: Any, keys: Any, width: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            s, p, keys, width = arguments
            s, p = (context.make_array(array)(context, builder, value).data for value in (s, p))
            side = INT(count)

            def rows(start: ir.Value, row: ir.Value, column: ir.Value, number: int) -> list[ir.Value]:
                return [builder.gep(start, [builder.add(builder.mul(builder.add(row, INT(n)), width), column)]) for n in range(number)]

            across_all, down_all = (cgutils.for_range(builder, builder.sdiv(size, side)) for size in (width, keys))
            with across_all as across, down_all as down:
                column, row = builder.mul(across.index, side), builder.mul(down.index, side)
                first = builder.sub(builder.add(row, builder.sub(width, side)), column)
                of_s, of_p = rows(s, row, column, count), rows(p, first, column, 2 * count - 1)
                from_, into = (of_s, of_p) if back else (of_p, of_s)
                held: list[Any] = [lanes.load(builder, place, vector) for place in from_]
                for bit in reversed(range((count - 1).bit_length())):
                    step = 1 << bit
                    chosen = [lane + count if (count - 1 - lane) & step else lane for lane in range(count)]
                    if back:
                        zeros = [lanes.constant(vector, 0.0)] * step
                        held = [lanes.shuffle(builder, stays, moves, chosen)
                                for stays, moves in zip([*held, *zeros], [*zeros, *held], strict=True)]
                    else:
                        held = [lanes.shuffle(builder, stays, moves, chosen) for stays, moves in zip(held, held[step:], strict=False)]
                for place, value in zip(into, held, strict=True):
                    lanes.store(builder, builder.fadd(lanes.load(builder, place, vector), value), place)
            return context.get_dummy_value()

        array, vector = s, lanes.vector_type(s.dtype)
        count = vector.count
        return types.void(s, p, types.intp, types.intp), generate

    return typed


def skew_in_numpy(back: bool) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def run(s: Any, p: Any, keys: int, width: int) -> None:
        i, j = np.arange(width), np.arange(keys)[:, None]
        places = (j - i + width - 1) * width + i
        with np.errstate(all="ignore"):
            if back:
                p[places] += s[: keys * width].reshape(keys, width)
            else:
                s[: keys * width] += p[places].reshape(-1)

    return run


add_skewed = skew_in_numpy(False) if DISABLED else intrinsic(skew(False))
take_skewed = skew_in_numpy(True) if DISABLED else intrinsic(skew(True))
