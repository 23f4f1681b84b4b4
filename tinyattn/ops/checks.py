"""Checks of the numbers, texts and arrays that a caller gives, made before they reach a formula, a table or a kernel."""

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
# The dtypes of nearly every array that is checked. They are tested first, as the checks of a decoding step cost microseconds.
WIDE = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


def is_int(value: Any) -> bool:
    """Returns whether a value is an int of Python or NumPy, and not a bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Returns whether a value is an int or a float of Python or NumPy, and not a bool."""
    return is_int(value) or isinstance(value, (float, np.floating))


def whole(name: str, number: Any, least: int, most: int | None = LARGEST) -> int:
    """Returns an int from `least` to `most`.

    Raises:
        TypeError: the value is not an int, or is a bool. ValueError: it is out of range.

    >>> whole("size", np.uint8(3), 1) - 4
    -1
    """
    if type(number) is int and number >= least and (most is None or number <= most):
        return number
    if not is_int(number):
        raise TypeError(f"{name}: expected an int, got {type(number).__name__}")
    if number < least:
        raise ValueError(f"{name}: expected {least} or more, got {number}")
    if most is not None and number > most:
        raise ValueError(f"{name}: expected at most {most}, got {number}")
    return int(number)


def real(name: str, number: Any, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """Returns a finite float that is at least `least` and larger than `above`.

    Raises:
        TypeError: the value is not a number, or is a bool. ValueError: it is NaN, infinite or out of range.

    >>> real("factor", np.float32(2.0), least=1.0)
    2.0
    """
    if not is_number(number):
        raise TypeError(f"{name}: expected a number, got {type(number).__name__}")
    finite = abs(number) <= sys.float_info.max if isinstance(number, int) else math.isfinite(number)
    if not (finite and number >= least and number > above):
        bound = f" of {least:g} or more" if least > -math.inf else f" above {above:g}" if above > -math.inf else ""
        raise ValueError(f"{name}: expected a finite number{bound}, got {number}")
    return float(number)


def truth(name: str, value: Any) -> bool:
    """Returns a bool; raises TypeError for anything else.

    >>> truth("interleaved", np.bool_(True))
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a bool, got {type(value).__name__}")
    return bool(value)


def text(name: str, value: Any) -> str:
    """Returns a str; raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {type(value).__name__}")
    return value


def function_or_none(name: str, value: Any) -> None:
    """Raises TypeError unless the value is a function or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: expected a function or None, got {type(value).__name__}")


def integers(name: str, array: Any, least_axes: int = 1) -> Array:
    """Returns a copy, in int64, of an integer array or of a list of ints.

    It is a copy because the owner may change the original, and int64 because unsigned and short integers would wrap around
    in a difference of two positions.

    Raises:
        TypeError: the numbers are not integers. ValueError: there are too few axes, or a number does not fit in 63 bits.

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
    """Returns an integer array as a plain ndarray; raises TypeError for anything else, masked arrays included.

    An np.matrix becomes plain because indexing or adding to a matrix always gives two axes.

    >>> index_array("positions", np.arange(2))
    array([0, 1])
    """
    plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
    if not plain or array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an integer array, got {array.dtype if plain else type(array).__name__}")
    return array if type(array) is np.ndarray else array.view(np.ndarray)


def one_axis(name: str, array: Array) -> Array:
    """Returns an array that has one axis; raises ValueError for another number of axes."""
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one axis, got shape {array.shape}")
    return array


def booleans(name: str, array: Any, expected: str) -> Array:
    """Returns a boolean array as a plain ndarray; raises TypeError for anything else, masked arrays included."""
    masked = isinstance(array, np.ma.MaskedArray)
    if masked or not isinstance(array, np.ndarray) or array.dtype != np.bool_:
        raise TypeError(f"{name}: expected {expected}, got {'a masked array' if masked else kind_name(array)}")
    return array.view(np.ndarray)


def shape_of(x: Any) -> tuple[int, ...]:
    """Returns the shape of an array or a Tensor, () for anything else: the `shape` of a class such as np.ndarray is not a tuple.

    >>> shape_of(np.zeros((2, 3))), shape_of(np.ndarray)
    ((2, 3), ())
    """
    shape = getattr(x, "shape", ())
    return shape if isinstance(shape, tuple) else ()


def kind_name(x: Any) -> str:
    """Returns the dtype of an array as text, the name of the type of anything else.

    >>> kind_name(np.zeros(2, np.int8)), kind_name(np.float32(2.0)), kind_name([1]), kind_name(np.ndarray)
    ('int8', 'a single float32', 'list', 'type')
    """
    dtype = getattr(x, "dtype", None)
    if not isinstance(dtype, np.dtype):
        return type(x).__name__
    return f"a single {dtype}" if isinstance(x, np.generic) else str(dtype)


def has_axes(name: str, x: Any, least: int) -> tuple[int, ...]:
    """Returns the shape of an array of real numbers or of a Tensor.

    Raises:
        TypeError: x is neither, or is a masked array. ValueError: x has fewer than `least` axes.
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


def check_broadcast(name: str, shape: tuple[int, ...], full: tuple[int, ...], axes: str = "(..., heads, q_len, kv_len)") -> None:
    """Raises ValueError unless an array of this shape broadcasts to the full shape, whose axes are named."""
    fits = len(shape) <= len(full) and all(size in (1, want) for size, want in zip(shape[::-1], full[::-1], strict=False))
    if not fits:
        raise ValueError(f"{name}: expected a shape that broadcasts to {axes} = {full}, got shape {shape}")


def check_rng(rng: Any) -> None:
    """Raises TypeError unless the argument is a NumPy Generator."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a np.random.Generator, got {type(rng).__name__}")
