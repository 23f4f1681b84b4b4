"""safetensors: arrays by name in one file, read without running or believing anything in it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from tinyattn.ops.files.atomic import replacing
from tinyattn.ops.files.header import LONGEST, Entry, SafetensorsError, header_length, parse_header
from tinyattn.ops.types import Array

CODES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
NAMES = {np.dtype(code).newbyteorder("="): name for name, code in CODES.items() if name != "BF16"}


def save(path: str | os.PathLike[str], arrays: Mapping[str, Array], *, metadata: Mapping[str, str] | None = None,
         bfloat16: Collection[str] = ()) -> None:
    """Writes arrays by name; those named in `bfloat16` are rounded (to nearest, ties to even) to BF16.

    The file appears whole or not at all. Any byte order and memory layout is taken.

    Raises:
        TypeError: an array that is not float64, float32, float16, int64, int32, uint8 or bool. ValueError: a name
            that cannot stand in the file.
    """
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    blobs: list[Array] = []
    at = 0
    for name, array in arrays.items():
        if name == "__metadata__" or not isinstance(name, str):
            raise ValueError(f"arrays: {name!r} cannot be the name of a tensor")
        if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("=") not in NAMES:
            kind = getattr(array, "dtype", None) or type(array).__name__
            raise TypeError(f"{name}: expected a float64, float32, float16, int64, int32, uint8 or bool array, got {kind}")
        if name in bfloat16:
            code, blob = "BF16", to_bfloat16(array)
        else:
            code = NAMES[array.dtype.newbyteorder("=")]
            blob = np.ascontiguousarray(array, CODES[code]).reshape(array.shape)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, at + blob.nbytes]}
        at += blob.nbytes
        blobs.append(blob)
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    if len(raw) > LONGEST:
        raise ValueError(f"arrays: their names take {len(raw)} bytes, at most {LONGEST} fit")
    with replacing(path) as file:
        file.write(len(raw).to_bytes(8, "little"))
        file.write(raw)
        for blob in blobs:
            file.write(blob.tobytes())


def load(path: str | os.PathLike[str], *, map: bool = False) -> dict[str, Array]:
    """Returns the arrays of a file by name; BF16 comes as float32.

    With `map` they are read-only views of the mapped file, which must then not shrink while they are in use: the
    operating system ends the process on a read beyond its end. Values are not checked; NaN passes.

    Raises:
        SafetensorsError: a file that is not safetensors to the letter. OSError: one that cannot be read.
    """
    return load_with_metadata(path, map=map)[0]


def load_with_metadata(path: str | os.PathLike[str], *, map: bool = False) -> tuple[dict[str, Array], dict[str, str]]:
    """Returns the arrays of a file by name and its metadata; see `load`."""
    name = Path(path).name
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = header_length(file.read(8), size, name)
        entries, metadata = parse_header(file.read(length), size - 8 - length, name)
        data: Array
        if map and size > 8 + length:
            data = np.memmap(path, np.uint8, "r", 8 + length).view(np.ndarray)
        else:
            data = np.frombuffer(file.read(), np.uint8)
    if len(data) != size - 8 - length:
        raise SafetensorsError(f"{name}: the file changed while it was read")
    return {tensor: unpack(data, entry, copy=not map) for tensor, entry in entries.items()}, metadata


def unpack(data: Array, entry: Entry, *, copy: bool) -> Array:
    """Returns one tensor out of the file's bytes."""
    raw = data[entry.start : entry.stop]
    if entry.dtype == "BOOL" and (raw > 1).any():
        raise SafetensorsError("BOOL: a byte that is neither 0 nor 1")
    array: Array = np.frombuffer(raw.tobytes(), CODES[entry.dtype]) if copy or entry.start % 8 else raw.view(
        CODES[entry.dtype])
    if entry.dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)
    array = array.reshape(entry.shape)
    return array.astype(array.dtype.newbyteorder("="), copy=True) if copy else array


def to_bfloat16(array: Array) -> Array:
    """Returns the upper halves of float32 numbers, rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).reshape(array.shape).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(bits.view(np.float32)), np.uint32(0x7FC0), rounded).astype("<u2")


def match(expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Array]) -> None:
    """Raises one ValueError that lists every difference between the shapes expected and those that came.

    >>> match({"w": (2, 3)}, {"w": np.zeros((2, 3))})
    """
    lines = [f"missing {name} {shape}" for name, shape in expected.items() if name not in arrays]
    lines += [f"unexpected {name} {array.shape}" for name, array in arrays.items() if name not in expected]
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            turned = " (it looks transposed)" if arrays[name].shape == shape[::-1] else ""
            lines.append(f"{name}: expected {shape}, got {arrays[name].shape}{turned}")
    if lines:
        raise ValueError("arrays do not fit: " + "; ".join(sorted(lines)))
