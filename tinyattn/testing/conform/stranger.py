"""The kernel that is judged: it is called with its own arrays and layout, and what it does wrong besides its numbers is noted."""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array
from tinyattn.testing.conform.axes import AXES, LETTERS, arranged, restored
from tinyattn.testing.conform.failures import Died, Late, Misshaped, Raised
from tinyattn.testing.conform.libraries import Library


@dataclass(frozen=True, eq=False)
class Stranger:
    """A function of somebody else: fn(q, k, v, **options) in arrays of a library, in a dtype and a layout.

    `like` is the signature of outputs: 'out', or 'out, lse'. `noted` collects what was seen besides the numbers, and `returned` the
    dtypes of outputs. After `deadline`, in seconds of the monotonic clock, no call begins.
    """

    fn: Callable[..., Any]
    library: Library
    dtype: str
    layout: str
    outputs: int = 1
    backward: Callable[..., Any] | None = None
    deadline: float = math.inf
    noted: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)

    @property
    def inner(self) -> str:
        """The letters of the inputs' axes."""
        return LETTERS[self.layout.split("->")[0]]

    @property
    def outer(self) -> str:
        """The letters of the outputs' axes."""
        return LETTERS[self.layout.split("->")[-1]]

    def given(self, x: Array) -> Any:
        """Returns one of q, k, v as the kernel takes it."""
        return self.library.give(np.ascontiguousarray(arranged(x, self.inner)), self.dtype)

    def arguments(self, p: Problem) -> tuple[list[Any], dict[str, Any]]:
        """Returns the kernel's positional arguments and options."""
        options = {name: self.library.give(x, self.dtype) for name, x in p.options.items() if x is not None and x is not False}
        return [self.given(x) for x in (p.q, p.k, p.v)], options

    def call(self, p: Problem) -> tuple[Array, ...]:
        """Returns the kernel's outputs in our layout.

        Raises:
            Raised: the kernel raised an error. Misshaped: it returned something else than the expected arrays.
        """
        arrays, options = self.arguments(p)
        before = [np.array(self.library.take(x)) for x in arrays]
        out = self.run(self.fn, *arrays, **options)
        for name, x, was in zip("qkv", arrays, before, strict=True):
            if not np.array_equal(self.library.take(x), was, equal_nan=True):
                self.noted.add(f"changes its argument {name}")
        return self.read(out, p)

    def run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Returns what a function of the kernel's author gives; whatever it raises is Raised, and what it prints is noted.

        Raises:
            Raised: the function raised an error. Died: its process ended. Late: the time limit was reached before the call.
        """
        if time.monotonic() > self.deadline:
            raise Late
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
                out = function(*args, **options)
        except Died:
            raise
        except (Exception, SystemExit) as error:
            raise Raised(error) from error
        if printed.getvalue():
            self.noted.add("prints to standard output")
        return out

    def taken(self, x: Any) -> Array:
        """Returns an array that the kernel gave as NumPy's; raises Misshaped where its numbers cannot be read."""
        try:
            return np.asarray(self.run(self.library.take, x))
        except Raised as error:
            raise Misshaped(f"the result cannot be read ({error}); return an array with numbers on the device of q") from error

    def in_numpy(self, *args: Any, **options: Any) -> Any:
        """Returns the output, or a tuple of all outputs of the kernel, called with NumPy's arrays and giving them.

        Raises:
            Raised: the kernel raised an error. Misshaped: it returned something else than arrays.
        """
        found = flat(self.run(self.fn, *(self.library.give(x, self.dtype) for x in args),
                              **{name: self.library.give(x, self.dtype) for name, x in options.items()}))
        for x in found:
            if not self.library.owns(x):
                raise Misshaped(f"expected arrays of {self.library.name}, got {type(x).__name__}")
        return self.taken(found[0]) if len(found) == 1 else tuple(self.taken(x) for x in found)

    def pulled_as_is(self, p: Problem, d_out: Callable[[tuple[int, ...]], Array], called: Callable[..., Any]) -> tuple[Array, ...]:
        """Returns d_q, d_k, d_v and the gradients of floating options of a kernel of another mechanism, as `named_floats` orders them.

        `d_out` makes the cotangent for an output's shape, and `called` turns the kernel into f(q, k, v, **options). A backward
        of its own gives d_q, d_k and d_v alone.

        Raises:
            Raised: the kernel has no gradients, or it raised an error. Misshaped: one of them is None.
        """
        options = {name: self.library.give(x, self.dtype) for name, x in p.options.items()}
        floats = ["q", "k", "v"] if self.backward is not None else list(named_floats(p))
        arrays = [self.library.give(named_floats(p)[name], self.dtype) for name in floats]

        def function(*given: Any) -> Any:
            return flat(called(self.fn)(*given[:3], **{**options, **dict(zip(floats[3:], given[3:], strict=True))}))[0]

        def cotangent(out: Any) -> Any:
            return self.library.give(d_out(tuple(out.shape)), self.library.dtype_of(out))

        if self.backward is not None:
            found = self.own_gradients(self.run(self.backward, *arrays, cotangent(self.run(function, *arrays)), **options), floats)
        else:
            found = self.run(self.library.pull, function, arrays, cotangent)
        for name, x in zip(floats, found, strict=True):
            if x is None and name in "qkv":
                raise Misshaped(f"expected a gradient of {name}, got None")
        read = tuple(np.zeros_like(named_floats(p)[name]) if x is None else self.taken(x)
                     for name, x in zip(floats, found, strict=True))
        for name, value in zip(floats, read, strict=True):
            if value.shape != named_floats(p)[name].shape:
                raise Misshaped(f"expected a gradient d_{name} of shape {named_floats(p)[name].shape}, got {value.shape}")
        return read

    def own_gradients(self, found: Any, names: list[str]) -> list[Any]:
        """Returns what a backward of its own gave, in the order of `names`; gradients of options may be left out.

        Raises:
            Misshaped: other gradients than those of q, k and v and of the options in `names`, or something else than arrays.
        """
        named = isinstance(found, Mapping) and {"q", "k", "v"} <= set(found)
        several = isinstance(found, (tuple, list))
        given = [found[name] for name in names if name in found] if named else list(found) if several else [found]
        if not 3 <= len(given) <= len(names):
            what = ", ".join(map(str, found)) if isinstance(found, Mapping) else f"{len(given)}" if several else type(found).__name__
            raise Misshaped(f"expected gradients of {', '.join(names)} from `backward`, got {what}")
        for name, x in zip(names, given, strict=False):
            if x is not None and not self.library.owns(x):
                raise Misshaped(f"expected d_{name} to be an array of {self.library.name}, got {type(x).__name__}")
        return given

    def read(self, out: Any, p: Problem) -> tuple[Array, ...]:
        """Returns outputs as NumPy arrays in our layout, after looking at their number, kind, dtype and shape."""
        outs = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if len(outs) != self.outputs:
            raise Misshaped(f"expected {self.outputs} output{'s' * (self.outputs > 1)}, got {len(outs)}")
        for x in outs:
            if not self.library.owns(x):
                raise Misshaped(f"expected an array of {self.library.name}, got {type(x).__name__}; return the array itself")
        dtype = self.library.dtype_of(outs[0])
        if "float" not in dtype:
            raise Misshaped(f"expected an output of floating numbers, got {dtype}")
        self.returned.add(dtype)
        read = [self.taken(outs[0])]
        want = arranged(np.empty((*p.q.shape[:-1], p.v.shape[-1])), self.outer).shape
        if read[0].shape != want:
            axes = ", ".join(AXES[letter] for letter in self.outer)
            raise Misshaped(f"expected an output ({axes}) of shape {want}, got {read[0].shape}")
        read[0] = restored(read[0], self.outer)
        if self.outputs > 1:
            rows = self.taken(outs[1])
            own = arranged(np.empty(p.q.shape[:-1]), self.outer.removesuffix("d")).shape
            shapes = {own: self.outer.removesuffix("d"), p.q.shape[:-1]: "bht"}
            if rows.shape not in shapes:
                raise Misshaped(f"expected an lse of shape {own}, got {rows.shape}")
            read.append(restored(rows, shapes[rows.shape]))
        return tuple(read)

    def gradients(self, p: Problem, d_out: Array) -> tuple[Array, ...]:
        """Returns d_q, d_k, d_v and the gradient of the bias, if there is one, by the library's reverse mode or `backward`.

        Raises:
            Raised: the kernel has none, or it raised an error. Misshaped: as in `call`.
        """
        arrays, options = self.arguments(p)
        names = ["q", "k", "v", *(name for name in ("bias",) if name in options)]
        shapes = [arranged(getattr(p, name), self.inner).shape if name in "qkv" else p.options[name].shape for name in names]
        cotangent = np.ascontiguousarray(arranged(d_out, self.outer))

        def function(*given: Any) -> Any:
            out = self.fn(*given[:3], **{**options, **dict(zip(names[3:], given[3:], strict=True))})
            return out[0] if isinstance(out, (tuple, list)) else out

        if self.backward is not None:
            found = self.own_gradients(self.run(self.backward, *arrays, self.library.give(cotangent, self.dtype), **options), names)
            names, shapes = names[: len(found)], shapes[: len(found)]  # one that gives no d_bias is judged without it
        else:
            leaves = [*arrays, *(options[name] for name in names[3:])]
            found = self.run(self.library.pull, function, leaves, lambda out: self.library.give(cotangent, self.library.dtype_of(out)))
        read = []
        for name, x, shape in zip(names, found, shapes, strict=True):
            if x is None:
                raise Misshaped(f"expected a gradient of {name}, got None")
            value = self.taken(x)
            if value.shape != shape:
                raise Misshaped(f"expected a gradient d_{name} of shape {shape}, got {value.shape}")
            read.append(restored(value, self.inner) if name in "qkv" else value)
        return tuple(read)


def named_floats(p: Problem) -> dict[str, Array]:
    """Returns q, k, v and the options that are arrays of floating numbers."""
    options = {name: x for name, x in p.options.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"}
    return {"q": p.q, "k": p.k, "v": p.v} | options


def flat(out: Any) -> list[Any]:
    """Returns the arrays in a result, those of a tuple in a tuple too."""
    return [x for part in out for x in flat(part)] if isinstance(out, (tuple, list)) else [out]
