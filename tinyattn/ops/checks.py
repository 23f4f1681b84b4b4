"""Numbers and index arrays that a caller gives, checked before they reach a formula, a table or a kernel."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy import ndarray

from tinyattn.ops.storage import is_half
from tinyattn.ops.types import Array

# Sums and differences of two positions of this size still fit in 64 bits.
LARGEST = 1 << 62
# The dtypes of nearly every array that is checked, asked for first: the checks of a decoding step are counted in microseconds.
WIDE = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


def whole(name: str, number: Any, least: int, most: int | None = LARGEST) -> int:
    """Returns an int from `least` to `most`.

    Raises:
        TypeError: what is no int, or is a bool. ValueError: one out of range.

    >>> whole("size", np.uint8(3), 1) - 4
    -1
    """
    if type(number) is int and number >= least and (most is None or number <= most):
        return number
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {type(number).__name__}")
    if number < least:
        raise ValueError(f"{name}: expected {least} or more, got {number}")
    if most is not None and number > most:
        raise ValueError(f"{name}: expected at most {most}, got {number}")
    return int(number)


def real(name: str, number: Any, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """Returns a finite float of at least `least` and above `above`.

    Raises:
        TypeError: what is no number, or is a bool. ValueError: NaN, inf, or one out of range.

    >>> real("factor", np.float32(2.0), least=1.0)
    2.0
    """
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {type(number).__name__}")
    finite = abs(number) <= sys.float_info.max if isinstance(number, int) else math.isfinite(number)
    if not (finite and number >= least and number > above):
        bound = f" of {least:g} or more" if least > -math.inf else f" above {above:g}" if above > -math.inf else ""
        raise ValueError(f"{name}: expected a finite number{bound}, got {number}")
    return float(number)


def truth(name: str, value: Any) -> bool:
    """Returns a bool; TypeError for anything else.

    >>> truth("interleaved", np.bool_(True))
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a bool, got {type(value).__name__}")
    return bool(value)


def text(name: str, value: Any) -> str:
    """Returns a str; TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {type(value).__name__}")
    return value


def function_or_none(name: str, value: Any) -> None:
    """Raises TypeError for what is neither a function nor None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: expected a function or None, got {type(value).__name__}")


def integers(name: str, array: Any, least_axes: int = 1) -> Array:
    """Returns a copy of an integer array, or of a list of ints, as int64: its owner may change the original.

    Unsigned and short integers would wrap around in a difference of two positions.

    Raises:
        TypeError: numbers that are not integers. ValueError: too few axes, or numbers beyond 64 bits.

    >>> integers("ids", np.array([0, 3], np.uint8)) - 4
    array([-4, -1])
    """
    if hasattr(array, "__array_function__") and not isinstance(array, (np.ndarray, np.generic)):
        raise TypeError(f"{name}: expected integers, got {type(array).__name__}")
    try:
        given = np.asarray(array)
    except ValueError:
        raise TypeError(f"{name}: expected integers, got a {type(array).__name__} whose items have different lengths") from None
    if given.dtype.kind not in "iu" or isinstance(array, np.ma.MaskedArray):
        kind = type(array).__name__ if given.dtype == np.object_ or isinstance(array, np.ma.MaskedArray) else given.dtype
        raise TypeError(f"{name}: expected integers, got {kind}")
    if given.ndim < least_axes:
        raise ValueError(f"{name}: expected at least one axis, got a single number")
    if given.dtype == np.uint64 and given.size and given.max() > LARGEST:
        raise ValueError(f"{name}: expected numbers of at most {LARGEST}, got {int(given.max())}")
    return given.astype(np.int64)


def index_array(name: str, array: Any) -> Array:
    """Returns the array as NumPy's own type; TypeError unless it is an array of integers that hides none.

    An np.matrix keeps two axes whatever is taken of it or added to it.

    >>> index_array("positions", np.arange(2))
    array([0, 1])
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or isinstance(array, np.ma.MaskedArray):
        plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
        raise TypeError(f"{name}: expected an integer array, got {array.dtype if plain else type(array).__name__}")
    return array if type(array) is np.ndarray else array.view(np.ndarray)


def has_axes(name: str, x: Any, least: int) -> tuple[int, ...]:
    """Returns the shape of an array of real numbers or a Tensor.

    Raises:
        TypeError: what is neither, a masked array. ValueError: fewer than `least` axes.
    """
    if type(x) is ndarray and x.dtype in WIDE and x.ndim >= least:
        return x.shape
    if isinstance(x, np.ma.MaskedArray) or not (isinstance(x, np.ndarray) or hasattr(x, "__array_function__")):
        raise TypeError(f"{name}: expected an array, got {type(x).__name__}")
    if x.dtype.kind not in "biuf" and not is_half(x.dtype):
        raise TypeError(f"{name}: expected an array of real numbers, got {x.dtype}")
    shape: tuple[int, ...] = x.shape
    if len(shape) < least:
        raise ValueError(f"{name}: expected at least {least} axes, got shape {shape}")
    return shape


def check_rng(rng: Any) -> None:
    """Raises TypeError unless what is given draws random numbers as a NumPy Generator does."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a np.random.Generator, got {type(rng).__name__}")
