"""The ways in which an argument is damaged, and what a call may return then."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# What a damaged argument may give besides a named error: any value, no value at all, or the value of these arguments.
ANY, NONE = "any", "none"


@dataclasses.dataclass(frozen=True)
class Damage:
    """One argument, what it is replaced by, and what a call may return then: ANY, NONE, or the value with `instead`."""

    argument: str
    kind: str
    value: Any
    returns: Any = ANY
    tolerance: float = 1e-9


class Instead:
    """The value that a damaged one stands for: a list for its array."""

    def __init__(self, value: Any) -> None:
        self.value = value


STRANGE = {"a str": "seven", "a dict": {}, "an object": object()}


def damages(name: str, value: Any, below: int | None) -> Iterator[Damage]:
    """Yields every damage of an argument."""
    for kind, strange in STRANGE.items():
        if not (isinstance(value, (str, Path)) and isinstance(strange, str)):
            yield Damage(name, kind, strange, NONE)
    yield Damage(name, "None", None, NONE)
    yield from of_its_kind(name, value, below)


def of_its_kind(name: str, value: Any, below: int | None) -> Iterator[Damage]:
    """Yields the damages that suit the kind of the argument."""
    if isinstance(value, np.ndarray):
        yield from array_damages(name, value, below)
    elif isinstance(value, (bool, np.bool_)):
        for kind, other in (("2", 2), ("a list", [value])):
            yield Damage(name, kind, other, NONE)
        yield Damage(name, "an int", int(value), Instead(value))
        yield Damage(name, "a NumPy bool", np.bool_(value), Instead(value))
    elif isinstance(value, int):
        yield from int_damages(name, value)
    elif isinstance(value, float):
        yield from float_damages(name, value)
    elif isinstance(value, Path):
        yield Damage(name, "a number", 5, NONE)
        yield Damage(name, "a folder", value.parent, NONE)
        yield Damage(name, "a file in no folder", value / "none" / "file", NONE)
    elif isinstance(value, (str, bytes)):
        yield Damage(name, "a number", 5, NONE)
        yield Damage(name, "the other kind of string", value.encode() if isinstance(value, str) else value.decode("latin-1"), NONE)
        yield Damage(name, "empty", type(value)(), ANY)
    elif isinstance(value, tuple) and type(value) is tuple and value and all(isinstance(x, (int, type(None))) for x in value):
        yield Damage(name, "a list", list(value), Instead(value))
        yield Damage(name, "one more", (*value, 1), ANY)
        yield Damage(name, "one less", value[:-1], NONE)
        yield Damage(name, "a number", 3, ANY)
        for i, item in enumerate(value):
            for damage in int_damages(name, item or 0):
                returns = Instead((*value[:i], damage.returns.value, *value[i + 1:])) if isinstance(damage.returns, Instead) else damage.returns
                yield Damage(name, f"item {i}: {damage.kind}", (*value[:i], damage.value, *value[i + 1:]), returns)
    else:
        yield Damage(name, "a number", 5, NONE)
        yield Damage(name, "a list of numbers", [5], NONE)


def int_damages(name: str, value: int) -> Iterator[Damage]:
    """Yields the damages of a whole number."""
    for kind, other in (("a fraction", value + 0.5), ("NaN", float("nan")), ("a list", [value]), ("complex", 1j)):
        yield Damage(name, kind, other, NONE)
    for kind, other in (("a bool", True), ("a whole float", float(value))):
        yield Damage(name, kind, other, Instead(int(other)))
    for dtype in (np.int8, np.uint8, np.uint64):
        if 0 <= value < 128:
            yield Damage(name, np.dtype(dtype).name, dtype(value), Instead(value))
    for other in (0, -1, 2**62, 2**70, -2**70):
        yield Damage(name, f"{other}", other, ANY)


def float_damages(name: str, value: float) -> Iterator[Damage]:
    """Yields the damages of a number."""
    for kind, other in (("a list", [value]), ("complex", 1j), ("an array", np.array([value, value])), ("NaN", float("nan"))):
        yield Damage(name, kind, other, NONE)
    yield Damage(name, "a bool", True, Instead(1.0))
    yield Damage(name, "a 0-d array", np.array(value), Instead(value))
    yield Damage(name, "float32", np.float32(value), Instead(float(np.float32(value))), 1e-6)
    for other in (float("inf"), float("-inf"), 0.0, -1.0, 2, 1e30, 10**400):
        yield Damage(name, f"{other:.3g}" if isinstance(other, float) else f"int of {len(str(other))} digits", other, ANY)


def array_damages(name: str, x: Any, below: int | None) -> Iterator[Damage]:
    """Yields the damages of an array: of its kind, dtype, layout, shape and numbers."""
    yield Damage(name, "a number", 5, ANY)
    yield Damage(name, "a list", x.tolist(), Instead(x))
    yield Damage(name, "objects", x.astype(object), NONE)
    yield Damage(name, "complex", x.astype(complex), NONE)
    yield Damage(name, "strings", x.astype(str), NONE)
    if x.size:
        yield Damage(name, "a masked array", np.ma.array(x, mask=np.arange(x.size).reshape(x.shape) == 0), NONE)
    yield Damage(name, "in Fortran's order", np.asfortranarray(x), Instead(x))
    if x.ndim:
        yield Damage(name, "every other number", np.repeat(x, 2, axis=-1)[..., ::2], Instead(x))
    frozen = x.copy()
    frozen.flags.writeable = False
    yield Damage(name, "read-only", frozen, Instead(x))
    yield Damage(name, "big-endian", x.astype(x.dtype.newbyteorder(">")), Instead(x))
    if x.dtype.kind == "f":
        half = x.astype(np.float16)
        yield Damage(name, "float16", half, Instead(half.astype(x.dtype)), 4e-3)
        yield Damage(name, "float32", x.astype(np.float32), Instead(x), 1e-5)
        yield Damage(name, "longdouble", x.astype(np.longdouble), Instead(x), 1e-6)
        near = np.rint(np.where(np.isfinite(x), x, 0.0)).astype(int)
        yield Damage(name, "integers", near, Instead(near.astype(x.dtype)))
        yield Damage(name, "bools", x > 0, Instead((x > 0).astype(x.dtype)))
        for number in (np.nan, np.inf, -np.inf):
            spoilt = x.copy()
            spoilt.reshape(-1)[:1] = number
            yield Damage(name, f"{number} in it", spoilt, ANY)
    elif x.dtype.kind == "b":
        for kind in (int, float):
            yield Damage(name, f"{kind.__name__}s", x.astype(kind), Instead(x))
    else:
        yield Damage(name, "floats", x.astype(float), Instead(x))
        for dtype in (np.int32, np.uint8, np.uint64):
            if x.size and 0 <= x.min() and x.max() < 128:
                yield Damage(name, np.dtype(dtype).name, x.astype(dtype), Instead(x))
        if x.size:
            spoilt = x.astype(float)
            spoilt.reshape(-1)[:1] = np.nan
            yield Damage(name, "NaN in it", spoilt, NONE)
            yield Damage(name, "bools", x > 0, Instead((x > 0).astype(int)))
            for number in (-1, -(2**40), 2**40, 2**62, below):
                if number is not None:
                    spoilt = x.astype(np.int64)
                    spoilt.reshape(-1)[:1] = number
                    yield Damage(name, f"{number} in it" if number != below else "one too large", spoilt, ANY if below is None else NONE)
            yield Damage(name, "2**63 in it", np.full(x.shape, 2**63, np.uint64), ANY if below is None else NONE)
    yield Damage(name, "no axes", x.reshape(-1)[0] if x.size else np.zeros((), x.dtype), ANY)
    yield Damage(name, "one axis more", x[None], ANY)
    if x.ndim:
        yield Damage(name, "one axis less", x[0] if len(x) else x.sum(axis=0).astype(x.dtype), ANY)
    for axis in range(x.ndim):
        yield Damage(name, f"axis {axis} empty", np.take(x, [], axis=axis), ANY)
        if x.shape[axis] > 1:
            yield Damage(name, f"axis {axis} of 1", np.take(x, [0], axis=axis), ANY)
        if x.shape[axis]:
            yield Damage(name, f"axis {axis} longer", np.concatenate((x, np.take(x, [0], axis=axis)), axis=axis), ANY)
