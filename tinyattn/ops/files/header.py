"""The header of a safetensors file: nothing in it is used before all of it has been checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

LONGEST = 100_000_000
MOST_AXES = 32
# The dtypes of the format, as NumPy reads their bytes.
CODES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
# Further dtypes of the format and their bits. A file that holds one is opened, and the tensor is refused when it is read.
UNREAD = {"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
          "I8": 8, "I16": 16, "U16": 16, "U32": 32, "U64": 64, "C64": 64}


class SafetensorsError(ValueError):
    """A file is not valid safetensors; the message names the file and the tensor."""


@dataclass(frozen=True)
class Entry:
    """The dtype and shape of one tensor, and its range of bytes in the data of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def header_length(first: bytes, file_size: int, name: str) -> int:
    """Returns the length of the header, checked against the size of the file before the header is read."""
    length = int.from_bytes(first[:8], "little")
    # A pickle begins with 0x80, but so does a header of 128, 384, ... bytes: a file is a pickle only if that length cannot be.
    pickled = first[:1] == b"\x80" and 8 + length > file_size
    if first[:4] == b"PK\x03\x04" or first[:6] == b"\x93NUMPY" or pickled:
        raise SafetensorsError(f"{name}: this is an npz, npy or pickle file, not safetensors; it is not opened")
    if len(first) < 8:
        raise SafetensorsError(f"{name}: {len(first)} bytes are too few for a safetensors file")
    if length > LONGEST:
        raise SafetensorsError(f"{name}: neither a safetensors nor a GGUF file, or damaged: it begins with a header of {length} "
                               f"bytes, and at most {LONGEST} are read")
    if length < 2 or 8 + length > file_size:
        raise SafetensorsError(f"{name}: header of {length} bytes in a file of {file_size}: truncated or not safetensors")
    return length


def json_of(raw: bytes) -> Any:
    """Returns the content of a JSON text in UTF-8.

    Raises:
        SafetensorsError: it is not valid JSON, holds NaN or Infinity, or an object has the same key twice.

    >>> json_of(b'{"rows": 2}')
    {'rows': 2}
    """
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except SafetensorsError:
        raise
    except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, a number of 10,000 digits, deep nesting
        raise SafetensorsError(f"cannot be read: {type(error).__name__}") from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object; raises SafetensorsError if a key occurs twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise SafetensorsError(f"the key {key!r} occurs twice")
        found[key] = value
    return found


def no_constant(text: str) -> Any:
    """Raises SafetensorsError for NaN and Infinity, which JSON does not have."""
    raise SafetensorsError(f"{text} is not a JSON number")


def is_count(number: Any) -> bool:
    """Returns whether a JSON value is an int of 0 or more."""
    return type(number) is int and number >= 0


def parse_header(raw: bytes, data_size: int, name: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """Returns the entries of the tensors and the metadata.

    Raises:
        SafetensorsError: the header is not valid, or the tensors do not cover the data exactly and without overlap.
    """
    if not raw.startswith(b"{"):
        raise SafetensorsError(f"{name}: the header does not start with {{")
    try:
        tree = json_of(raw)
    except SafetensorsError as error:
        raise SafetensorsError(f"{name}: the header: {error}") from None
    metadata = tree.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise SafetensorsError(f"{name}: __metadata__ must map strings to strings")
    entries = {tensor: parse_entry(tensor, fields, name) for tensor, fields in tree.items()}
    end = 0
    for tensor, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise SafetensorsError(f"{name}: {tensor}: starts at byte {entry.start} where {end} is expected: "
                                   f"a hole or an overlap")
        end = entry.stop
    if end != data_size:
        raise SafetensorsError(f"{name}: the tensors take {end} bytes and the file holds {data_size}: truncated or padded")
    return entries, metadata


def parse_entry(tensor: str, fields: Any, name: str) -> Entry:
    """Returns the entry of one tensor, checked."""
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(f"{name}: {tensor}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or (dtype not in CODES and dtype not in UNREAD):
        raise SafetensorsError(f"{name}: {tensor}: dtype {str(dtype)[:60]!r} is not one of {', '.join((*CODES, *UNREAD))}")
    if not isinstance(shape, list) or not all(map(is_count, shape)) or len(shape) > MOST_AXES:
        raise SafetensorsError(f"{name}: {tensor}: shape {str(shape)[:60]} is not a list of ints of 0 or more")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_count, offsets)):
        raise SafetensorsError(f"{name}: {tensor}: data_offsets {str(offsets)[:60]} are not two ints of 0 or more")
    start, stop = offsets
    bits = math.prod(shape) * (UNREAD[dtype] if dtype in UNREAD else 8 * int(CODES[dtype][-1]))  # Python's ints do not overflow
    size = -(-bits // 8)
    if stop - start != size:
        raise SafetensorsError(f"{name}: {tensor}: {dtype} {shape} takes {size} bytes, its range holds {stop - start}")
    if math.prod(axis or 1 for axis in shape) >= 1 << 60:  # an axis of 0 takes no bytes, and NumPy still refuses such a shape
        raise SafetensorsError(f"{name}: {tensor}: an array of the shape {str(shape)[:60]} cannot be made")
    return Entry(dtype, tuple(shape), start, stop)
