"""GGUF files, of version 2 or 3: metadata, and tensors that stay in the mapped file. Reading one runs no code."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyattn.ops.files.gguf_values import GgufError, Header
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.types import Array

# The types of tensors by their number: a code, the weights of a block and its bytes. Those that `Stored` does not read are
# listed because a file that holds one is opened all the same, and the tensor refused when it is read.
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
         8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
         13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
         18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
         22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
         27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
         35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18)}
MOST_AXES = 4
# The alignment of the data where the metadata names none, and the largest that is accepted.
ALIGNMENT, LARGEST_ALIGNMENT = 32, 1 << 20


class Gguf(NamedTuple):
    """The content of a GGUF file: its metadata by key, and its tensors by name.

    Numbers, bools and strings of the metadata are those of Python, lists of numbers are arrays, lists of strings are lists.
    The axes of a tensor stand in NumPy's order, the reverse of the file's.
    """

    metadata: dict[str, Any]
    tensors: dict[str, Stored]


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in the data of the file, and how it is stored."""

    code: str
    shape: tuple[int, ...]
    start: int
    size: int


def read(path: str | os.PathLike[str]) -> Gguf:
    r"""Returns the metadata and the tensors of a file, which is mapped; none of the data is read.

    The file must not shrink while its tensors are in use, because the operating system ends a process that reads beyond its
    end.

    Raises:
        GgufError: the file is not valid GGUF, of a version other than 2 and 3, in big-endian order, or one part of several.
        OSError: it cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "empty.gguf"
    >>> _ = path.write_bytes(b"GGUF\3\0\0\0" + bytes(16))
    >>> read(path)
    Gguf(metadata={}, tensors={})
    """
    name = Path(path).name
    size = os.path.getsize(path)
    if size < 24 and not os.path.isdir(path):
        raise GgufError(f"{name}: {size} bytes are too few for a GGUF file")
    data: Array = np.memmap(path, np.uint8, "r").view(np.ndarray)
    header = Header(data.data, name)
    check_version(header)
    tensors, keys = header.count(24, "tensors"), header.count(13, "entries of the metadata")
    metadata = read_metadata(header, keys)
    if (parts := metadata.get("split.count", 1)) != 1:
        raise GgufError(f"{name}: this is part {metadata.get('split.no', '?')} (from 0) of a model that is split over {parts} files; "
                        f"split files are not read: merge them with llama-gguf-split --merge")
    places = read_places(header, tensors)
    start = aligned(header.at, alignment := check_alignment(metadata, name))
    check_cover(places, max(len(data) - start, 0), alignment, name)
    return Gguf(metadata, {tensor: Stored(f"{name}: {tensor}", place.code, place.shape,
                                          data[start + place.start : start + place.start + place.size])
                           for tensor, place in places.items()})


def check_version(header: Header) -> None:
    """Raises GgufError unless the file starts as GGUF of version 2 or 3 in little-endian order."""
    magic = bytes(header.raw[header.take(4, "the start"):][:4])
    if magic != b"GGUF":
        raise header.error(f"starts with {magic!r}, and a GGUF file starts with b'GGUF'")
    version = header.number("<I", "the version")
    if version not in (2, 3):
        swapped = version in (2 << 24, 3 << 24)
        raise header.error("numbers are in big-endian order, which is not read" if swapped else
                           f"version {version} of the format, and the versions 2 and 3 are read")


def read_metadata(header: Header, count: int) -> dict[str, Any]:
    """Returns the metadata; raises GgufError if a key occurs twice."""
    metadata: dict[str, Any] = {}
    for number in range(count):
        key = header.text(f"the key of entry {number} of the metadata")
        if key in metadata:
            raise header.error(f"the key {key[:60]!r} occurs twice")
        metadata[key] = header.value(header.number("<I", f"the kind of {key[:60]!r}"), repr(key[:60]))
    return metadata


def read_places(header: Header, count: int) -> dict[str, Place]:
    """Returns where the tensors stand; raises GgufError for a name that occurs twice and for impossible sizes."""
    places: dict[str, Place] = {}
    for number in range(count):
        name = header.text(f"the name of tensor {number}")
        if name in places:
            raise header.error(f"two tensors have the name {name[:60]!r}")
        places[name] = read_place(header, repr(name[:60]))
    return places


def read_place(header: Header, name: str) -> Place:
    """Returns where one tensor stands."""
    axes = header.number("<I", f"the number of axes of {name}")
    if axes > MOST_AXES:
        raise header.error(f"{name}: {axes} axes, and a tensor has at most {MOST_AXES}")
    shape = tuple(header.number("<Q", f"an axis of {name}") for _ in range(axes))[::-1]
    kind = header.number("<I", f"the type of {name}")
    start = header.number("<Q", f"the offset of {name}")
    if kind not in TYPES:
        raise header.error(f"{name}: the type {kind} of its numbers is unknown")
    code, weights, size = TYPES[kind]
    if weights > 1 and (not shape or shape[-1] % weights):
        raise header.error(f"{name}: rows of {code} hold a multiple of {weights} weights, got the shape {shape}")
    total = math.prod(shape) // weights * size  # ints of Python, which do not overflow
    if total > len(header.raw):
        raise header.error(f"{name}: {code} {shape} takes {total} bytes, and the whole file has {len(header.raw)}")
    # A shape with an axis of 0 takes no bytes, and NumPy still cannot make it if its other axes are too long.
    if math.prod(axis or 1 for axis in shape) >= 1 << 60:
        raise header.error(f"{name}: an array of the shape {shape} cannot be made")
    return Place(code, shape, start, total)


def check_alignment(metadata: dict[str, Any], name: str) -> int:
    """Returns the alignment of the data, a power of two from 8 up."""
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or not 8 <= alignment <= LARGEST_ALIGNMENT or alignment & (alignment - 1):
        raise GgufError(f"{name}: general.alignment: expected a power of two from 8 to {LARGEST_ALIGNMENT}, got {str(alignment)[:60]}")
    return alignment


def aligned(at: int, alignment: int) -> int:
    """Returns the first multiple of the alignment from a byte on.

    >>> aligned(33, 32), aligned(64, 32)
    (64, 64)
    """
    return -(-at // alignment) * alignment


def check_cover(places: dict[str, Place], held: int, alignment: int, name: str) -> None:
    """Raises GgufError unless the tensors follow each other in the data, each at the next aligned byte, up to its end."""
    end = 0
    for tensor, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].size)):
        if place.start != aligned(end, alignment):
            raise GgufError(f"{name}: {tensor[:60]!r}: starts at byte {place.start} of the data, where {aligned(end, alignment)} "
                            f"is expected: a hole, an overlap or another alignment than {alignment}")
        end = place.start + place.size
    # Some programs fill up the last tensor to the alignment too, and a file without tensors may end with its header.
    if not end <= held <= aligned(end, alignment):
        raise GgufError(f"{name}: the tensors take {end} bytes and the file holds {held}: truncated or padded")
