"""float16 and bfloat16 only store numbers: they are widened to float32 before anything is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy import ndarray

F = TypeVar("F", bound=Callable[..., Any])
PLAIN = frozenset({bool, float, int, str, type(None)})


def is_half(dtype: Any) -> bool:
    """Returns whether a dtype is float16 or bfloat16.

    NumPy has no bfloat16. The dtype of the package `ml_dtypes` is recognised by its name, so that the package need not be
    installed. Beware: its kind is V, `np.finfo` refuses it, and `np.where(c, x, 0.0)` turns it into float64.

    >>> is_half(np.dtype(np.float16)), is_half(np.dtype(np.float32)), is_half(np.dtype(np.int16))
    (True, False, False)
    """
    # Looking up the name takes a microsecond, so the size is compared first.
    return isinstance(dtype, np.dtype) and dtype.itemsize == 2 and dtype.name in ("float16", "bfloat16")


def widened(function: F) -> F:
    """Returns the function with float16 and bfloat16 arguments widened to float32, and its result narrowed again.

    Arrays and Tensors are found among the positional and keyword arguments, and in tuples and lists of them. If the first
    floating one is float16 or bfloat16, the result has its dtype. Of a tuple of results only the first is narrowed, since
    the others (log-sum-exps, states) are sums to which more will be added.

    >>> @widened
    ... def square(x):
    ...     return np.sqrt(x * x)
    >>> square(np.array([300.0], np.float16))
    array([300.], dtype=float16)
    """
    @wraps(function)
    def wide(*args: Any, **options: Any) -> Any:
        # A decoding step runs this a hundred times, so arrays that need no widening are recognised by one attribute.
        for value in (*args, *options.values()) if options else args:
            kind = type(value)
            if kind is ndarray:
                if value.itemsize != 2:
                    continue
            elif kind in PLAIN:
                continue
            if any(map(is_half, floating_dtypes((value,)))):
                break
        else:
            return function(*args, **options)
        stored = next(floating_dtypes((*args, *options.values())), None)
        out = function(*map(to_single, args), **{name: to_single(value) for name, value in options.items()})
        return narrow(out, stored) if is_half(stored) else out

    return cast(F, wide)


def to_single(value: Any) -> Any:
    """Returns float16 and bfloat16 arrays and Tensors in float32, also in tuples and lists; other values are unchanged."""
    if type(value) in (tuple, list):
        return type(value)(map(to_single, value))
    return value.astype(np.float32) if is_half(getattr(value, "dtype", None)) else value


def narrow(out: Any, dtype: Any) -> Any:
    """Returns a result in the dtype that stores it; of a tuple of results only the first is converted."""
    if isinstance(out, tuple):
        return (narrow(out[0], dtype), *out[1:])
    if out.dtype == np.bool_:  # a choice, which stores no numbers
        return out
    with np.errstate(under="ignore"):  # a number too small for the dtype becomes 0, whatever np.seterr says
        return out.astype(dtype.newbyteorder("="))


def floating_dtypes(values: Iterable[Any]) -> Iterator[Any]:
    """Yields the dtypes of the floating arrays and Tensors among the values and their tuples and lists, from left to right."""
    for value in values:
        if type(value) in (tuple, list):
            yield from floating_dtypes(value)
        else:
            dtype = getattr(value, "dtype", None)
            if isinstance(dtype, np.dtype) and (dtype.kind == "f" or is_half(dtype)):
                yield dtype
