"""A public function with arguments that it takes, how it is called and its result seen, and what its errors must say."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

import numpy as np

from tinyattn.ops import Bias, Pattern

Arguments = dict[str, Any]


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
