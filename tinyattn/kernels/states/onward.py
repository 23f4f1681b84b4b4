"""An array from one of its numbers on, as a slice gives it, without the steps that set a slice right."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from tinyattn.kernels.tiles.jit import DISABLED


def shortened(_context: Any, x: Any, at: Any) -> Any:
    """Returns the intrinsic of x[at:] for a flat array and a place from 0 to its size.

    A slice may begin anywhere and count from the end: in a kernel of states the slices were a seventh of what LLVM read.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        array, begin = arguments
        view = context.make_array(x)(context, builder, array)
        left = builder.sub(view.nitems, begin)
        view.data, view.nitems, view.shape = builder.gep(view.data, [begin]), left, cgutils.pack_array(builder, [left])
        return impl_ret_borrowed(context, builder, x, view._getvalue())

    return x(x, types.intp), generate


def shortened_in_numpy(x: Any, at: int) -> Any:
    """Returns the same in NumPy, for when nothing is compiled."""
    return x[at:]


onward = shortened_in_numpy if DISABLED else intrinsic(shortened)
