"""The arguments of writing a safetensors file, checked as strictly as a file that is read, and the bytes of its tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tinyattn.ops.files.header import CODES, MOST_AXES
from tinyattn.ops.types import Array

NAMES = {np.dtype(code).newbyteorder("="): name for name, code in CODES.items() if name != "BF16"}


def check_mapping(name: str, given: Any) -> None:
    """Raises TypeError unless the argument is a mapping."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: expected a mapping from names, got {type(given).__name__}")


def check_metadata(metadata: Any) -> dict[str, str]:
    """Returns the metadata; raises TypeError, which names the key, unless all keys and values are strings."""
    check_mapping("metadata", metadata)
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise TypeError(f"metadata: expected strings as keys, got {key!r}")
        if not isinstance(value, str):
            raise TypeError(f"metadata[{key!r}]: expected a string, got {value!r}; write str(...) or json.dumps(...) of it")
        check_text(f"metadata[{key!r}]", key + value)
    return dict(metadata)


def check_name(name: Any) -> None:
    """Raises TypeError if the name of a tensor is not a string, and ValueError if a file cannot hold it."""
    if not isinstance(name, str):
        raise TypeError(f"arrays: expected strings as names, got {name!r}")
    if name == "__metadata__":
        raise ValueError(f"arrays: {name!r} cannot be the name of a tensor")
    check_text(f"arrays: the name {name!r}", name)


def check_text(name: str, text: str) -> None:
    """Raises ValueError for a string that UTF-8 cannot encode because it holds half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: expected text that UTF-8 can write, got half of a surrogate pair") from None


def check_rounded(names: Any, arrays: Mapping[str, Any]) -> list[str]:
    """Returns the names in `bfloat16=`, each of which must be the name of an array."""
    if isinstance(names, (str, bytes)) or not isinstance(names, Collection):
        raise TypeError(f"bfloat16: expected a collection of names such as ('weight',), got {names!r}")
    unknown = [name for name in names if not isinstance(name, str) or name not in arrays]
    if unknown:
        raise ValueError(f"bfloat16: no array is named {', '.join(map(repr, unknown))}")
    return list(names)


def encoded(name: str, array: Any, *, to_round: bool) -> tuple[str, Array]:
    """Returns the name of a tensor's dtype in the file format, and its numbers as the file stores them."""
    known = isinstance(array, np.ndarray) and (array.dtype.name == "bfloat16" or array.dtype.newbyteorder("=") in NAMES)
    if not known:
        kind = array.dtype if isinstance(array, np.ndarray) else f"an object of type {type(array).__name__}"
        raise TypeError(f"{name}: expected a bfloat16, float64, float32, float16, int64, int32, uint8 or bool array, got {kind}")
    if array.ndim > MOST_AXES:
        raise ValueError(f"{name}: expected at most {MOST_AXES} axes, got {array.ndim}")
    if array.dtype.name == "bfloat16":
        # The dtype belongs to another package and is recognised by its name; its bytes are the upper half of a float32.
        return "BF16", np.ascontiguousarray(array).reshape(array.shape).view(np.uint16).astype("<u2")
    if to_round and array.dtype.kind != "f":
        raise TypeError(f"bfloat16: {name}: expected a floating array, got {array.dtype}")
    if to_round:
        return "BF16", to_bfloat16(array)
    code = NAMES[array.dtype.newbyteorder("=")]
    return code, np.ascontiguousarray(array, CODES[code]).reshape(array.shape)


def to_bfloat16(array: Array) -> Array:
    """Returns the upper halves of float32 numbers, rounded to nearest, ties to even; NaN stays NaN.

    >>> [hex(bits) for bits in to_bfloat16(np.array([1.0, 1.0 + 2**-8 + 2**-40]))]
    ['0x3f80', '0x3f81']
    """
    with np.errstate(all="ignore"):
        bits = np.array(to_float32(array)).view(np.uint32)
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
        return np.where(np.isnan(array), np.uint32(0x7FC0), rounded).astype("<u2")


def to_float32(array: Array) -> Array:
    """Returns the numbers as float32 such that rounding these to bfloat16 gives the same as rounding `array` once.

    Where float32 is not exact, the result is the neighbour with an odd last bit. It never lies halfway between two bfloat16
    numbers, where the error of the first rounding would decide the second.
    """
    narrow = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    wide = narrow.astype(np.float64)
    bits = narrow.view(np.uint32)
    toward_zero = bits - (np.abs(wide) > np.abs(array)).astype(np.uint32)
    return np.where(wide == array, bits, toward_zero | 1).astype(np.uint32).view(np.float32)
