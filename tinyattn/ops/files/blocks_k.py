"""The larger block formats of GGUF: 256 weights in 8 or 16 groups, whose own scales are quantised too."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.files.blocks import halves, nibbles
from tinyattn.ops.types import Array


def scales_and_minima(raw: Array) -> tuple[Array, Array]:
    """Returns the 8 scales and the 8 minima, each of 6 bits, from 12 bytes per block.

    The bytes 0 to 3 hold four scales and the bytes 4 to 7 four minima, in their lower 6 bits. The upper 2 bits of the same
    bytes complete the other four scales and minima, whose lower 4 bits are the low and the high halves of the bytes 8 to 11.

    >>> raw = np.array([[0xFF, 1, 2, 3, 4, 5, 6, 0xBF, 0x10, 0, 0, 0x21]], np.uint8)
    >>> scales_and_minima(raw)
    (array([[63,  1,  2,  3, 48,  0,  0,  1]], dtype=uint8), array([[ 4,  5,  6, 63,  1,  0,  0, 34]], dtype=uint8))
    """
    first, second, rest = raw[:, :4], raw[:, 4:8], raw[:, 8:12]
    scales = np.concatenate((first & 63, (rest & 15) | ((first >> 2) & 48)), axis=-1)
    minima = np.concatenate((second & 63, (rest >> 4) | ((second >> 2) & 48)), axis=-1)
    return scales, minima


def scaled(raw: Array, numbers: Array) -> Array:
    """Returns scale * q - minimum of 8 groups of 32 numbers; the block starts with two float16 factors and the 12 bytes."""
    scales, minima = scales_and_minima(raw[:, 4:16])
    factors, offsets = halves(raw[:, :2]) * scales.astype(np.float32), halves(raw[:, 2:4]) * minima.astype(np.float32)
    groups = numbers.reshape(-1, 8, 32).astype(np.float32)
    return (factors[..., None] * groups - offsets[..., None]).reshape(-1, 256)


def q4_k(raw: Array) -> Array:
    """Returns the weights of blocks (n, 144): two factors, 8 scales and minima, then 256 numbers of 4 bits.

    >>> q4_k(np.full((1, 144), 0, np.uint8)).shape
    (1, 256)
    """
    return scaled(raw, nibbles(raw[:, 16:], 32))


def q5_k(raw: Array) -> Array:
    """Returns the weights of blocks (n, 176): as `q4_k`, with 32 bytes of fifth bits before the numbers of 4 bits.

    Bit g of byte i belongs to number i of group g.

    >>> q5_k(np.full((1, 176), 0, np.uint8)).shape
    (1, 256)
    """
    fifth = (raw[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    return scaled(raw, nibbles(raw[:, 48:], 32) | (fifth << 4).reshape(-1, 256))


def q6_k(raw: Array) -> Array:
    """Returns scale * (q - 32) of blocks (n, 210): 4 low bits and 2 high bits per number, 16 signed scales, one factor.

    >>> q6_k(np.full((1, 210), 0, np.uint8)).shape
    (1, 256)
    """
    high = (raw[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    numbers = (nibbles(raw[:, :128], 64) | (high << 4).reshape(-1, 256)).astype(np.int8) - np.int8(32)
    scales = halves(raw[:, 208:]) * np.ascontiguousarray(raw[:, 192:208]).view(np.int8).astype(np.float32)
    return (scales[..., None] * numbers.reshape(-1, 16, 16).astype(np.float32)).reshape(-1, 256)
