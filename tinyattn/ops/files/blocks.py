"""Block formats of GGUF: 32 weights share a scale, and some of the formats add a minimum."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.types import Array


def halves(raw: Array) -> Array:
    """Returns bytes (..., 2 n) as n float16 numbers each, widened to float32.

    >>> halves(np.array([[0x00, 0x3C]], np.uint8))
    array([[1.]], dtype=float32)
    """
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def nibbles(raw: Array, together: int) -> Array:
    """Returns the halves of bytes (n, bytes): of each run of `together` bytes first all low halves, then all high ones.

    >>> nibbles(np.array([[0x21, 0x43]], np.uint8), 2)
    array([[1, 3, 2, 4]], dtype=uint8)
    """
    runs = raw.reshape(len(raw), -1, 1, together)
    return ((runs >> np.array([0, 4], np.uint8)[:, None]) & 15).reshape(len(raw), -1)


def fifth_bits(raw: Array) -> Array:
    """Returns the 32 bits of each row of 4 bytes, the lowest first, each moved to the place of the fifth bit."""
    return np.unpackbits(raw, axis=-1, bitorder="little") << 4


def q4_0(raw: Array) -> Array:
    """Returns scale * (q - 8) of blocks (n, 18): a float16 scale, then 32 numbers of 4 bits.

    >>> q4_0(np.array([[0x00, 0x3C] + 16 * [0x98]], np.uint8))[0, 15:17]
    array([0., 1.], dtype=float32)
    """
    return halves(raw[:, :2]) * (nibbles(raw[:, 2:], 16).astype(np.int8) - np.int8(8)).astype(np.float32)


def q4_1(raw: Array) -> Array:
    """Returns scale * q + minimum of blocks (n, 20): two float16 numbers, then 32 numbers of 4 bits.

    >>> q4_1(np.array([[0x00, 0x3C, 0x00, 0x3C] + 16 * [0x98]], np.uint8))[0, 15:17]
    array([ 9., 10.], dtype=float32)
    """
    return halves(raw[:, :2]) * nibbles(raw[:, 4:], 16).astype(np.float32) + halves(raw[:, 2:4])


def q5_0(raw: Array) -> Array:
    """Returns scale * (q - 16) of blocks (n, 22): a float16 scale, 32 fifth bits, then 32 numbers of 4 bits.

    >>> q5_0(np.array([[0x00, 0x3C] + 4 * [0xFF] + 16 * [0x98]], np.uint8))[0, 15:17]
    array([8., 9.], dtype=float32)
    """
    numbers = (nibbles(raw[:, 6:], 16) | fifth_bits(raw[:, 2:6])).astype(np.int8) - np.int8(16)
    return halves(raw[:, :2]) * numbers.astype(np.float32)


def q5_1(raw: Array) -> Array:
    """Returns scale * q + minimum of blocks (n, 24): two float16 numbers, 32 fifth bits, then 32 numbers of 4 bits.

    >>> q5_1(np.array([[0x00, 0x3C, 0x00, 0x3C] + 4 * [0xFF] + 16 * [0x98]], np.uint8))[0, 15:17]
    array([25., 26.], dtype=float32)
    """
    numbers = nibbles(raw[:, 8:], 16) | fifth_bits(raw[:, 4:8])
    return halves(raw[:, :2]) * numbers.astype(np.float32) + halves(raw[:, 2:4])


def q8_0(raw: Array) -> Array:
    """Returns scale * q of blocks (n, 34): a float16 scale, then 32 signed bytes.

    >>> q8_0(np.array([[0x00, 0x3C] + 32 * [0xFF]], np.uint8))[0, :2]
    array([-1., -1.], dtype=float32)
    """
    return halves(raw[:, :2]) * np.ascontiguousarray(raw[:, 2:]).view(np.int8).astype(np.float32)
