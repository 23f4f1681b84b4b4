"""The values in the header of a GGUF file: every length and count is checked against the bytes that are left."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

# The kinds of values: the codes of `struct` and NumPy for the numbers by their kind, then the three kinds without one.
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
BOOL, TEXT, LIST = 7, 8, 9
# Lists in lists in lists do not occur in files that people have.
DEEPEST = 4


class GgufError(ValueError):
    """A file is not valid GGUF; the message names the file and what is wrong in it."""


class Header:
    r"""Reads values one after the other out of the mapped bytes of a file.

    >>> header = Header(memoryview(b"\x02\x00\x00\x00\x00\x00\x00\x00hi"), "a.gguf")
    >>> header.text("a word"), header.at
    ('hi', 10)
    """

    def __init__(self, raw: memoryview, name: str) -> None:
        self.raw, self.name, self.at = raw, name, 0

    def error(self, what: str) -> GgufError:
        """Returns the error that names the file."""
        return GgufError(f"{self.name}: {what}")

    def take(self, size: int, what: str) -> int:
        """Returns where the next `size` bytes start, and moves past them."""
        start = self.at
        if size > len(self.raw) - start:
            raise self.error(f"{what} takes {size} bytes at byte {start}, and the file ends at byte {len(self.raw)}: "
                             f"truncated or not GGUF")
        self.at = start + size
        return start

    def number(self, code: str, what: str) -> Any:
        """Returns the next number, of a code of `struct`."""
        return struct.unpack_from(code, self.raw, self.take(struct.calcsize(code), what))[0]

    def count(self, least: int, what: str) -> int:
        """Returns the next count, of things that take at least `least` bytes each."""
        count: int = self.number("<Q", f"the count of {what}")
        if count * least > len(self.raw) - self.at:
            raise self.error(f"{count} {what} do not fit into the {len(self.raw) - self.at} bytes that are left: "
                             f"truncated or not GGUF")
        return count

    def text(self, what: str) -> str:
        """Returns the next string."""
        length = self.number("<Q", f"the length of {what}")
        start = self.take(length, what)
        try:
            return str(self.raw[start : start + length], "utf-8")
        except UnicodeDecodeError:
            raise self.error(f"{what} at byte {start} is not UTF-8") from None

    def truth(self, what: str) -> bool:
        """Returns the next bool, a byte that must be 0 or 1."""
        byte = self.raw[self.take(1, what)]
        if byte > 1:
            raise self.error(f"{what} is a bool, and its byte is {byte}")
        return bool(byte)

    def value(self, kind: int, what: str, depth: int = 0) -> Any:
        """Returns the next value of a kind; a list of numbers is an array, any other list is a list."""
        if kind in NUMBERS:
            return self.number(NUMBERS[kind], what)
        if kind == TEXT:
            return self.text(what)
        if kind == BOOL:
            return self.truth(what)
        if kind != LIST:
            raise self.error(f"{what} is of the unknown kind {kind}")
        if depth == DEEPEST:
            raise self.error(f"{what} holds lists more than {DEEPEST} deep")
        inner = self.number("<I", f"the kind of {what}")
        if inner in NUMBERS:
            size = struct.calcsize(NUMBERS[inner])
            count = self.count(size, f"numbers of {what}")
            start = self.take(count * size, what)
            return np.frombuffer(self.raw[start : self.at], NUMBERS[inner]).astype(NUMBERS[inner][1:])
        if inner == TEXT:
            return self.texts(what)
        # A list in a list has at least 12 bytes. For an unknown kind the first element raises the error.
        count = self.count(12 if inner == LIST else 1, f"elements of {what}")
        return [self.value(inner, what, depth + 1) for _ in range(count)]

    def texts(self, what: str) -> list[str]:
        """Returns a list of strings. A vocabulary has 50,000 to 250,000, and they take most of the time."""
        count = self.count(8, f"strings of {what}")
        length_at: Callable[..., tuple[int]] = struct.Struct("<Q").unpack_from
        raw, at, end, found = self.raw, self.at, len(self.raw), []
        try:
            for _ in range(count):
                start = at + 8
                at = start + length_at(raw, at)[0]
                if at > end:
                    raise self.error(f"a string of {what} takes {at - start} bytes at byte {start}, and the file ends at byte {end}: "
                                     f"truncated or not GGUF")
                found.append(str(raw[start:at], "utf-8"))
        except struct.error:
            raise self.error(f"the strings of {what} do not end before byte {end}: truncated or not GGUF") from None
        except UnicodeDecodeError:
            raise self.error(f"a string of {what} at byte {start} is not UTF-8") from None
        self.at = at
        return found
