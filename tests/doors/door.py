"""A public function with arguments that it takes, the ways in which each argument is damaged, and what may come of that."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tinyattn.ops import Bias, Pattern

Arguments = dict[str, Any]
# What a damaged argument may give besides a named error: any value, no value at all, or the value of these arguments.
ANY, NONE = "any", "none"


@dataclasses.dataclass(frozen=True)
class Door:
    """How one public function is called.

    `arguments()` makes arguments that it takes, by name. A method is looked up in what `make()` returns. `after(made, result)`
    says what is looked at, the result itself if there is none. `reference` gives the right value of the same arguments.
    `below` says of an array of indices how large they may be. `optional` names arguments that may be None. A method that `refuses` does so whatever it is given.
    `work` names counts of what is done one after another: enormous ones are not tried, as they would only take long.
    `also` names what an error may name instead, for a layer whose arrays are only judged when it is used. A `record` is what
    functions return: it holds what it is given, and is only made.
    """

    arguments: Callable[[], Arguments] = dict
    make: Callable[[], Any] | None = None
    after: Callable[[Any, Any], Any] = lambda made, result: result
    reference: Callable[..., Any] | None = None
    below: dict[str, int] = dataclasses.field(default_factory=dict)
    optional: tuple[str, ...] = ()
    refuses: bool = False
    work: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    record: bool = False


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
        yield Damage(name, "integers", np.rint(x).astype(int), Instead(np.rint(x)))
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


def public(module: Any) -> list[str]:
    """Returns the public functions of a package, `Class` for a constructor and `Class.method` for a method."""
    names: list[str] = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            if getattr(value, "_is_protocol", False) or issubclass(value, BaseException):
                continue
            names.append(name)
            for method in dir(value):
                found = inspect.getattr_static(value, method)
                if (method == "__call__" or not method.startswith("_")) and isinstance(found, (classmethod, staticmethod, type(public))):
                    names.append(f"{name}.{method}")
        elif callable(value):
            names.append(name)
    return names


def called(module: Any, name: str, door: Door, arguments: Arguments) -> Any:
    """Returns what is looked at after a call, in plain values that can be compared."""
    made = door.make() if door.make is not None else None
    first, _, method = name.partition(".")
    target = getattr(module, first) if made is None else made
    result = (getattr(target, method) if method else target)(**arguments)
    if inspect.isgenerator(result):
        result = list(islice(result, 8))
    elif isinstance(result, AbstractContextManager) and not method:
        with result:
            result = None
    return seen(door.after(made, result))


def seen(value: Any) -> Any:
    """Returns a result as arrays, numbers and containers of them."""
    if isinstance(value, Pattern):
        return value.dense(6, 6)
    if isinstance(value, Bias):
        return value.dense(6, 6)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [seen(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return [seen(item) for item in value.values()]
    if isinstance(value, (list, tuple)):
        return [seen(item) for item in value]
    return value


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Returns whether two results are equal within a tolerance, relative to the largest number."""
    if isinstance(a, list) or isinstance(b, list):
        return isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and all(map(same, a, b, [tolerance] * len(a)))
    if isinstance(a, (np.ndarray, np.generic, float, int)) and isinstance(b, (np.ndarray, np.generic, float, int)):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or "O" in (a.dtype.kind, b.dtype.kind):
            return False
        if a.dtype.kind in "biu" and b.dtype.kind in "biu":
            return bool((a == b).all())
        if np.float32 in (a.dtype, b.dtype):
            tolerance = max(tolerance, 1e-5)
        x, y = a.astype(float), b.astype(float)
        scale = max(1.0, float(np.abs(y[np.isfinite(y)]).max(initial=0.0)))
        return bool(np.allclose(x, y, rtol=tolerance, atol=tolerance * scale, equal_nan=True))
    return type(a) is type(b) and (a == b if isinstance(a, (str, bytes, type(None))) else True)


INNER = re.compile(r"([\w.<>]+)\(\) (?:got|missing|takes)")


def misnamed(error: BaseException, name: str, argument: str, others: Collection[str] = ()) -> str | None:
    """Returns what is wrong with an error about an argument, None if nothing is.

    What cannot be had in memory may be said by NumPy. An error may begin with the name of one of the `others` instead, where
    two arguments do not fit.
    """
    if isinstance(error, MemoryError) or "array is too big" in str(error) or "Maximum allowed dimension exceeded" in str(error):
        return None
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return None if argument in ("path", "source") else said  # a path that leads nowhere
    if not isinstance(error, (TypeError, ValueError, IndexError, FloatingPointError)) or isinstance(error, UnicodeError):
        return said
    inner = INNER.search(str(error))
    if inner and inner[1].split(".")[-1] not in (name.split(".")[-1], name.split("_")[0], "__init__"):
        return f"names an inner function: {said}"
    if argument in ("path", "source") and "os.PathLike" in str(error):
        return None
    named = re.search(rf"(?<![A-Za-z0-9]){re.escape(argument)}(?![A-Za-z0-9])", str(error))
    if not named and str(error).split(":")[0] not in others:
        return f"does not name {argument}: {said}"
    return None
