"""The header of a safetensors file, believed only after everything in it has been checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

LONGEST = 100_000_000
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}


class SafetensorsError(ValueError):
    """A file that is not, or not quite, safetensors; the message names the file and the tensor."""


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies in the file's data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def header_length(first: bytes, file_size: int, name: str) -> int:
    """Returns the length of the header, checked against the file before anything of that size is read."""
    length = int.from_bytes(first[:8], "little")
    # A pickle begins with 0x80, and so does every header of 128, 384, ... bytes: only one that cannot be is a pickle.
    pickled = first[:1] == b"\x80" and 8 + length > file_size
    if first[:4] == b"PK\x03\x04" or first[:6] == b"\x93NUMPY" or pickled:
        raise SafetensorsError(f"{name}: this is an npz, npy or pickle file, not safetensors; it is not opened")
    if len(first) < 8:
        raise SafetensorsError(f"{name}: {len(first)} bytes are too few for a safetensors file")
    if length > LONGEST:
        raise SafetensorsError(f"{name}: header of {length} bytes, at most {LONGEST} are read")
    if length < 2 or 8 + length > file_size:
        raise SafetensorsError(f"{name}: header of {length} bytes in a file of {file_size}: truncated or not safetensors")
    return length


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object; a key that stands twice is refused."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise SafetensorsError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def no_constant(text: str) -> Any:
    """Refuses NaN and Infinity, which JSON does not have."""
    raise SafetensorsError(f"{text} is no JSON number")


def whole(number: Any) -> bool:
    """Returns whether a JSON value is a whole number of 0 or more."""
    return type(number) is int and number >= 0


def parse_header(raw: bytes, data_size: int, name: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """Returns the tensors' places and the metadata; the places must cover the data exactly, without overlap.

    Raises:
        SafetensorsError: anything else, naming the tensor.
    """
    if not raw.startswith(b"{"):
        raise SafetensorsError(f"{name}: the header does not start with {{")
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except SafetensorsError as error:
        raise SafetensorsError(f"{name}: {error}") from None
    except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, a number of 10,000 digits, deep nesting
        raise SafetensorsError(f"{name}: the header cannot be read: {type(error).__name__}") from None
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
    """Returns one checked entry."""
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(f"{name}: {tensor}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise SafetensorsError(f"{name}: {tensor}: dtype {dtype!r} is not one of {', '.join(SIZES)}")
    if not isinstance(shape, list) or not all(whole(size) for size in shape) or len(shape) > 32:
        raise SafetensorsError(f"{name}: {tensor}: shape {str(shape)[:60]} is no list of whole numbers")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(whole(place) for place in offsets):
        raise SafetensorsError(f"{name}: {tensor}: data_offsets {str(offsets)[:60]} are no two whole numbers")
    start, stop = offsets
    size = math.prod(shape) * SIZES[dtype]  # whole numbers of any size: nothing wraps
    if stop - start != size:
        raise SafetensorsError(f"{name}: {tensor}: {dtype} {shape} takes {size} bytes, its range holds {stop - start}")
    return Entry(dtype, tuple(shape), start, stop)
