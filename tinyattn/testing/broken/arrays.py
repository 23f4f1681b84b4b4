"""Faults with arrays: dtypes, memory layout, inputs that are written to."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.twin import twin


@twin("a_dtype_stays")
def always_float64(f: Mechanism, p: Problem) -> Any:
    """A float64 constant takes part in the computation: every output is float64."""
    return p.call(f) * np.float64(1.0)


@twin("inputs_are_not_written")
def scales_the_query_in_place(f: Mechanism, p: Problem) -> Any:
    """The scale is applied in place, q *= scale: the caller's array changes."""
    out = p.call(f)
    if isinstance(p.q, np.ndarray) and p.q.flags.writeable:
        p.q[...] *= 0.5
    return out


@twin("layout_is_invisible")
def reads_memory_flat(f: Mechanism, p: Problem) -> Any:
    """The buffer is read as if it were contiguous: strides are ignored."""
    v = p.v
    if isinstance(v, np.ndarray) and not v.flags.c_contiguous and v.base is not None:
        v = np.ravel(v.base)[: v.size].reshape(v.shape)
    return p.but(v=v).call(f)


@twin("byte_order_is_invisible")
def reads_bytes_as_native(f: Mechanism, p: Problem) -> Any:
    """Arrays in the other byte order are read as if they were native."""
    def native(a: Any) -> Any:
        return a if not isinstance(a, np.ndarray) or a.dtype.isnative else a.view(a.dtype.newbyteorder())

    with np.errstate(all="ignore"):
        return p.but(v=native(p.v)).call(f)
