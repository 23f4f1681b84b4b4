"""safetensors files: arrays by name. Reading one runs no code, and everything in it is checked."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np

from tinyattn.ops.files.atomic import replacing
from tinyattn.ops.files.encode import check_mapping, check_metadata, check_name, check_rounded, encoded
from tinyattn.ops.files.header import CODES, LONGEST, UNREAD, Entry, SafetensorsError, header_length, parse_header
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.types import Array


def save(path: str | os.PathLike[str], arrays: Mapping[str, Array], *, metadata: Mapping[str, str] | None = None,
         bfloat16: Collection[str] = ()) -> None:
    """Writes arrays by name; the floating arrays named in `bfloat16` are rounded once (to nearest, ties to even) to BF16.

    The file is written completely or not at all; after an error the old file is unchanged. Any byte order and memory layout
    is accepted. Arrays of the dtype bfloat16 (of the package ml_dtypes) are written as they are.

    Raises:
        TypeError: an array is not bfloat16, float64, float32, float16, int64, int32, uint8 or bool; an array to be rounded is
            not floating; a name or the metadata are not strings. ValueError: a file cannot hold a name, or no array has a
            name that `bfloat16` lists.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save(path, {"w": np.ones((2, 3))})
    >>> load(path)["w"].shape
    (2, 3)
    """
    check_mapping("arrays", arrays)
    rounded = check_rounded(bfloat16, arrays)
    header: dict[str, object] = {} if metadata is None else {"__metadata__": check_metadata(metadata)}
    blobs: list[Array] = []
    at = 0
    for name, array in arrays.items():
        check_name(name)
        code, blob = encoded(name, array, to_round=name in rounded)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, at + blob.nbytes]}
        at += blob.nbytes
        blobs.append(blob)
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    if len(raw) > LONGEST:
        raise ValueError(f"arrays: the header with their names and the metadata takes {len(raw)} bytes, at most {LONGEST} fit")
    with replacing(path) as file:
        file.write(len(raw).to_bytes(8, "little"))
        file.write(raw)
        for blob in blobs:
            file.write(blob.tobytes())


@dataclass(frozen=True, eq=False)
class Mapped(Mapping[str, Array]):
    """The arrays of a mapped file by name: each is made when it is asked for, BF16 as a new float32 array at each time.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save(path, {"w": np.zeros(2)})
    >>> arrays = load(path, map=True)
    >>> isinstance(arrays, Mapped), list(arrays)
    (True, ['w'])
    """

    data: Array
    entries: Mapping[str, Entry]
    file: str

    def __getitem__(self, name: str) -> Array:
        return unpack(self.data, self.entries[name], f"{self.file}: {name}", copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@overload
def load(path: str | os.PathLike[str], *, map: Literal[False] = False) -> dict[str, Array]: ...
@overload
def load(path: str | os.PathLike[str], *, map: bool) -> Mapping[str, Array]: ...
def load(path: str | os.PathLike[str], *, map: bool = False) -> Mapping[str, Array]:
    """Returns the arrays of a file by name; BF16 is returned as float32.

    With `map` they are read-only views of the memory-mapped file, each made when it is asked for. The file must not shrink
    while they are in use, because the operating system ends a process that reads beyond its end. Values are not checked, so NaN
    is returned as it is.

    Raises:
        SafetensorsError: the file is not valid safetensors, or a tensor that is read has one of the dtypes that NumPy lacks or
            models rarely use: F8, F6, F4, I8, I16, unsigned integers above 8 bits, C64. OSError: the file cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save(path, {"w": np.arange(3, dtype=np.int32)})
    >>> load(path, map=True)["w"]
    array([0, 1, 2], dtype=int32)
    """
    return load_with_metadata(path, map=map)[0]


@overload
def load_with_metadata(path: str | os.PathLike[str], *,
                       map: Literal[False] = False) -> tuple[dict[str, Array], dict[str, str]]: ...
@overload
def load_with_metadata(path: str | os.PathLike[str], *, map: bool) -> tuple[Mapping[str, Array], dict[str, str]]: ...
def load_with_metadata(path: str | os.PathLike[str], *, map: bool = False) -> tuple[Mapping[str, Array], dict[str, str]]:
    """Returns the arrays of a file by name, as `load` does, and its metadata.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save(path, {"w": np.zeros(1)}, metadata={"step": "3"})
    >>> load_with_metadata(path)[1]
    {'step': '3'}
    """
    name = Path(path).name
    data, entries, metadata = opened(path, map=map)
    if map:
        return Mapped(data, entries, name), metadata
    return {tensor: unpack(data, entry, f"{name}: {tensor}", copy=True) for tensor, entry in entries.items()}, metadata


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Stored], dict[str, str]]:
    """Returns the tensors of a file by name, which stay in the mapped file, and its metadata.

    Raises:
        SafetensorsError: the file is not valid safetensors. OSError: it cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save(path, {"w": np.ones((2, 3))}, bfloat16=["w"])
    >>> read(path)[0]["w"].rows(1, 2)
    array([[1., 1., 1.]], dtype=float32)
    """
    data, entries, metadata = opened(path, map=True)
    name = Path(path).name
    return {tensor: Stored(f"{name}: {tensor}", entry.dtype, entry.shape, data[entry.start : entry.stop])
            for tensor, entry in entries.items()}, metadata


def opened(path: str | os.PathLike[str], *, map: bool) -> tuple[Array, dict[str, Entry], dict[str, str]]:
    """Returns the data of a file as bytes, read or mapped, the entries of its tensors, and its metadata.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save(path, {"w": np.zeros(2, np.float32)})
    >>> data, entries, metadata = opened(path, map=False)
    >>> data.nbytes, entries["w"].shape, metadata
    (8, (2,), {})
    """
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
    return data, entries, metadata


def unpack(data: Array, entry: Entry, name: str, *, copy: bool) -> Array:
    """Returns one tensor from the bytes of the file.

    >>> unpack(np.array([1.0, 2.0], "<f4").view(np.uint8), Entry("F32", (2,), 0, 8), "w", copy=True)
    array([1., 2.], dtype=float32)
    """
    raw = data[entry.start : entry.stop]
    if entry.dtype in UNREAD:
        raise SafetensorsError(f"{name}: the dtype {entry.dtype} is not read; {', '.join(CODES)} are")
    if entry.dtype == "BOOL" and (raw > 1).any():
        raise SafetensorsError(f"{name}: a BOOL byte that is neither 0 nor 1")
    array: Array = np.frombuffer(raw.tobytes(), CODES[entry.dtype]) if copy or entry.start % 8 else raw.view(
        CODES[entry.dtype])
    if entry.dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)
    array = array.reshape(entry.shape)
    return array.astype(array.dtype.newbyteorder("="), copy=True) if copy else array


def match(expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Array]) -> None:
    """Raises one ValueError that lists all differences between the expected shapes and the given arrays.

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
