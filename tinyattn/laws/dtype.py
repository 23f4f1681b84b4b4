"""Laws of arrays: dtypes are kept, memory layout does not matter, inputs are never changed."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.law import Draw, Law, outputs, unchanged
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array


def dtypes(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the item size of the output for inputs of float64, float32 and float16."""
    sizes = [outputs(p.astype(kind).call(f))[0].dtype.itemsize for kind in (np.float64, np.float32, np.float16)]
    return (np.array(sizes, p.q.dtype),)


def other_layout(p: Problem) -> Problem:
    """Returns the problem with inputs that are strided, reversed in memory and read-only."""
    def odd(a: Array) -> Array:
        turned = np.flip(np.flip(a, -1).copy(), -1) if a.ndim else a
        other: Array = turned if a.ndim < 2 else np.repeat(turned, 2, axis=-2)[..., ::2, :]
        other.flags.writeable = False
        return other

    return p.map(odd)


def inputs_after(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the inputs after the call."""
    copy = p.map(np.array)
    copy.call(f)
    return copy.q, copy.k, copy.v


def array_laws(draw: Draw) -> tuple[Law, ...]:
    """Returns the laws of arrays on the problems drawn."""
    return (
        Law("a_dtype_stays", "A float64 input gives a float64 output, float32 gives float32, float16 gives float16.", draw, dtypes,
            lambda f, p: (np.array([8, 4, 2], p.q.dtype),), exact=True),
        unchanged("layout_is_invisible", "Strided, reversed and read-only inputs give the same as plain copies of them.", draw,
                  other_layout),
        unchanged("byte_order_is_invisible", "Inputs in the other byte order give the same as native ones.", draw,
                  lambda p: p.map(lambda a: a.astype(a.dtype.newbyteorder()))),
        Law("inputs_are_not_written", "A call does not change its inputs.", draw,
            lambda f, p: (p.q, p.k, p.v), inputs_after, exact=True),
    )
