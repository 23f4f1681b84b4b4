"""Quantisation to 8 or 4 bits: one code per number, and one scale and one zero per group of numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.ops.checks import has_axes, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import to_single
from tinyattn.ops.types import Array

BITS = (8, 4)


class Packed(NamedTuple):
    """Quantised rows (..., n, width): in each group, x = scale code + zero.

    codes are uint8: (..., n, width) with 8 bits, (..., n, ceil(width / 2)) with 4 bits, where byte i holds channel 2 i in its
    low half and channel 2 i + 1 in its high half. scale and zero have one entry per group of `group` neighbours. With axis -2
    a group is of tokens and the entries are (..., n / group, width); with axis -1 it is of channels and they are
    (..., n, ceil(width / group)), where the last group may be shorter.

    >>> packed = quantize(np.arange(8.0).reshape(4, 2), bits=8, group=2, axis=-2)
    >>> packed.scale.shape, packed.rows(2, 4).codes.shape
    ((2, 2), (2, 2))
    """

    codes: Array
    scale: Array
    zero: Array
    bits: int
    group: int
    axis: int
    width: int

    def rows(self, start: int, stop: int) -> Packed:
        """Returns views of the rows from start to stop, which must be group boundaries if groups are of tokens."""
        low, high = (start // self.group, -(-stop // self.group)) if self.axis == -2 else (start, stop)
        scale, zero = self.scale[..., low:high, :], self.zero[..., low:high, :]
        return self._replace(codes=self.codes[..., start:stop, :], scale=scale, zero=zero)


def quantize(x: Array, *, bits: int, group: int, axis: int) -> Packed:
    """Returns the codes of the rows, with one scale and one zero per group.

    Formula: zero = min x, scale = (max x - min x) / (2^bits - 1), code = round((x - zero) / scale), over each group.
    x (..., n, width). A group is `group` neighbours along axis -2, whose length it must divide, or along axis -1. The error
    of a number is at most scale / 2 plus the rounding of its dtype. A group of equal numbers is exact and has the scale 1.
    The scale and zero of float16 and bfloat16 are float32. arXiv:2402.02750.

    Raises:
        TypeError: x is not a floating array. ValueError: x holds NaN or inf, which would spoil their group; the groups do
            not divide the tokens; or bits, group or axis has no allowed value.

    >>> quantize(np.array([[1.0, 4.0, 16.0, 16.0]]), bits=4, group=2, axis=-1)[:3]
    (array([[240,   0]], dtype=uint8), array([[0.2, 1. ]]), array([[ 1., 16.]]))
    """
    x = floating("x", x)
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x: expected an array, as codes have no gradient, got {type(x).__name__}")
    has_axes("x", x, 2)
    if whole("bits", bits, 1) not in BITS:
        raise ValueError(f"bits: expected 8 or 4, got {bits}")
    group, axis = whole("group", group, 1), whole("axis", axis, -2)
    if axis not in (-2, -1):
        raise ValueError(f"axis: expected -2, the tokens, or -1, the channels, got {axis}")
    if axis == -2 and x.shape[-2] % group:
        raise ValueError(f"x: expected whole groups of {group} tokens, got shape {x.shape}")
    work: Any = to_single(x)
    levels = work.dtype.type(2 ** bits - 1)
    starts = np.arange(0, x.shape[axis], group)
    zero, high = (pick.reduceat(work, starts, axis=axis) for pick in (np.minimum, np.maximum))
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (high - zero) / levels
    if not np.all(np.isfinite(scale)):
        raise ValueError(f"x: expected finite numbers, got NaN, inf or a group wider than {work.dtype} in an array of shape {x.shape}")
    scale = np.where(scale > 0, scale, np.ones_like(scale))  # numbers that are equal, or nearly so, all have code 0
    steps = np.rint((work - spread(zero, x.shape[axis], group, axis)) / spread(scale, x.shape[axis], group, axis))
    codes = np.clip(steps, 0, levels).astype(np.uint8)
    return Packed(pack(codes) if bits == 4 else codes, scale, zero, bits, group, axis, x.shape[-1])


def dequantize(packed: Packed) -> Array:
    """Returns the numbers (..., n, width) that the codes stand for, in the dtype of the scale.

    >>> dequantize(quantize(np.array([[1.0, 4.0, 16.0, 16.0]]), bits=4, group=2, axis=-1))
    array([[ 1.,  4., 16., 16.]])
    """
    if not isinstance(packed, Packed):
        raise TypeError(f"packed: expected what `quantize` returned, got {type(packed).__name__}")
    made = code_numbers(packed)
    size, at = made.shape[packed.axis], made.ndim + packed.axis
    if size % packed.group:
        scale, zero = (spread(x, size, packed.group, packed.axis) for x in (packed.scale, packed.zero))
        return made * scale + zero
    # A scale for each number is an array as large as the result; read for a whole group it takes a third of the time.
    groups = made.reshape(*made.shape[:at], size // packed.group, packed.group, *made.shape[at + 1 :])
    groups *= np.expand_dims(packed.scale, at + 1)
    groups += np.expand_dims(packed.zero, at + 1)
    return made


def code_numbers(packed: Packed) -> Array:
    """Returns the codes themselves (..., n, width), contiguous, as numbers of the dtype of the scale.

    >>> code_numbers(quantize(np.array([[1.0, 4.0, 16.0]]), bits=4, group=3, axis=-1))
    array([[ 0.,  3., 15.]])
    """
    if packed.bits == 8:
        return packed.codes.astype(packed.scale.dtype, order="C")
    made = np.empty((*packed.codes.shape[:-1], packed.width), packed.scale.dtype)
    made[..., 0::2], made[..., 1::2] = packed.codes & 15, (packed.codes >> 4)[..., : packed.width // 2]
    return made


def spread(x: Array, size: int, group: int, axis: int) -> Array:
    """Returns an array with one entry per group as one with one entry per member of the groups."""
    return x.take(np.arange(size) // group, axis=axis)


def pack(codes: Array) -> Array:
    """Returns codes below 16 with two per byte, (..., ceil(width / 2)): the first in the low half; an odd width is padded with 0.

    >>> pack(np.array([1, 2, 3], np.uint8))
    array([33,  3], dtype=uint8)
    """
    low, high = codes[..., 0::2], codes[..., 1::2]
    if codes.shape[-1] % 2:
        high = np.concatenate((high, np.zeros_like(low[..., :1])), axis=-1)
    return low | high << 4


def unpack(packed: Array, width: int) -> Array:
    """Returns the codes (..., width) that `pack` took.

    >>> unpack(np.array([33, 3], np.uint8), 3)
    array([1, 2, 3], dtype=uint8)
    """
    codes = np.stack((packed & 15, packed >> 4), axis=-1)
    return codes.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :width]
