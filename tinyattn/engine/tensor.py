"""Tensor: an array that remembers how it was computed, and answers NumPy's own functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinyattn.engine.arguments import bind_tensor
from tinyattn.engine.dispatch import apply, apply_ufunc
from tinyattn.engine.dtypes import NAMES, floating
from tinyattn.engine.graph import CONSTANT, Node, ancestry, mode, walk
from tinyattn.engine.methods import Methods
from tinyattn.engine.moves import take

if TYPE_CHECKING:
    # For type checkers a Tensor is an array, so that it may be passed wherever an array may.
    class Operators(NDArrayOperatorsMixin, np.ndarray[Any, np.dtype[Any]]):  # type: ignore[misc]
        """The operators; their results have any type."""

        def __new__(cls, array: Any) -> Self: ...
else:
    Operators = NDArrayOperatorsMixin


class Tensor(Methods, Operators):  # type: ignore[misc]
    """A floating array on a graph: every NumPy function applied to it is recorded and can be differentiated.

    `Tensor(array)` copies the array, so that its owner may change it later. `.value` is the array (read-only), `.grad`
    the gradient that `backward` has added up, or None.

    Raises:
        TypeError: an array that is not float16, bfloat16, float32 or float64; and any use that would leave the graph
            without saying so (`np.asarray`, `float`, writing in place), naming `.value`.

    >>> x = Tensor(np.array([1.0, 2.0, 3.0]))
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_value", "node")
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, array: Any) -> None:
        if isinstance(array, Tensor):
            raise TypeError("array: expected an array, got a Tensor; give its .value to start a new graph from it")
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError("array: a masked array would lose its mask; give .filled(...) or .data")
        copied = np.array(array, subok=False)
        if not floating(copied.dtype):
            raise TypeError(f"array: expected {NAMES}, got {copied.dtype}")
        if not copied.dtype.isnative:
            copied = copied.astype(copied.dtype.newbyteorder("="))
        self._value = copied
        self.node: Node | None = Node(copied.shape, copied.dtype) if mode.current != CONSTANT else None

    @classmethod
    def of(cls, value: Any, node: Node | None) -> Tensor:
        """Returns a Tensor around an array that the engine owns, without copying it."""
        made = object.__new__(cls)
        made._value, made.node = value, node
        return made

    @property
    def value(self) -> np.ndarray[Any, Any]:
        """The array, read-only, as the walk back may need it unchanged."""
        shown = self._value.view()
        shown.flags.writeable = False
        return shown

    @property
    def grad(self) -> np.ndarray[Any, Any] | None:
        """What `backward` has added up here, or None."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, gradient: np.ndarray[Any, Any] | None) -> None:
        if self.node is None:
            raise TypeError(".grad: this Tensor was made under no_grad and keeps no gradient")
        self.node.grad = gradient

    def backward(self, d_out: Any = None) -> None:
        """Adds the gradient of this Tensor to `.grad` of every leaf Tensor that it was computed from.

        `d_out` is the gradient to start with, by default 1 for a scalar. The graph is freed as it is walked.

        Raises:
            ValueError: `d_out` has another shape than this Tensor, or is missing and the Tensor is not a scalar.
            TypeError: `d_out` has another dtype than this Tensor.
            RuntimeError: the graph was walked before, or this Tensor is on no graph.
        """
        seed = seed_for(self, d_out)
        if self.node is None:
            raise RuntimeError("backward: this Tensor was computed under no_grad, there is no graph to walk")
        order = ancestry([self.node])
        leaves = [node for node in order if node.pullback is None]
        found, alone = walk([(self.node, seed)], leaves, order=order)
        before = [(node, node.grad) for node in found]
        try:
            for node, gradient in found.items():
                node.grad = node.grad + gradient if node.grad is not None else gradient if node in alone else np.array(gradient)
        except BaseException:
            for node, gradient in before:
                node.grad = gradient
            raise

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if any(not issubclass(kind, (Tensor, np.ndarray)) for kind in types):
            return NotImplemented
        return apply(function, args, options)

    # Declared to return an array: if declared never to return, type checkers would treat code after np.sum(tensor) as unreachable.
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, np.dtype[Any]]:  # type: ignore[override]
        raise TypeError("a Tensor is not converted to an array silently: that would cut the graph; use .value")

    def _leave(self, *_: Any) -> NoReturn:
        raise TypeError("a Tensor is not converted to a number silently: that would cut the graph; "
                        "use .item() or .value")

    __float__ = __int__ = __index__ = __complex__ = __bool__ = _leave

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("a Tensor is never written to; build the result with np.where or np.concatenate, "
                        "or write to a copy of .value")

    def __getitem__(self, index: Any) -> Tensor:
        return take(self, index)

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Tensor]:
        if not self._value.ndim:
            raise TypeError("iteration over a Tensor of shape ()")
        return (self[i] for i in range(len(self._value)))

    def __copy__(self) -> Any:
        return self.copy("K")

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy("K")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Tensor is not pickled: that would cut the graph; pickle .value")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Tensor has no subclasses: NumPy's functions would not recognise them as Tensors")

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self._value.ndim:
            raise TypeError(f"a Tensor of shape {self.shape} has no format {spec!r}; format .value, or one element")
        return format(self._value[()], spec)

    def __repr__(self) -> str:
        return f"Tensor({self._value!r})"

    @property  # type: ignore[misc]
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._value.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._value.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._value.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16, bfloat16, float32 or float64."""
        return self._value.dtype

    def item(self) -> float:  # type: ignore[override]
        """The only element, as a Python float that is on no graph."""
        return float(self._value.item())


def seed_for(out: Tensor, d_out: Any) -> np.ndarray[Any, Any]:
    """Returns the gradient that a walk starts with at `out`: `d_out` after checks, or 1."""
    if d_out is None:
        if out.shape != ():
            raise ValueError(f"d_out: a result of shape {out.shape} is not a scalar and needs a gradient of that shape")
        return np.ones((), out.dtype)
    if not isinstance(d_out, np.ndarray):
        d_out = np.asarray(d_out, out.dtype if isinstance(d_out, (int, float)) else None)
    if d_out.shape != out.shape:
        raise ValueError(f"d_out: expected shape {out.shape}, got {d_out.shape}")
    if d_out.dtype.newbyteorder("=") != out.dtype:
        raise TypeError(f"d_out: expected dtype {out.dtype}, got {d_out.dtype}")
    seed: np.ndarray[Any, Any] = d_out.astype(out.dtype, copy=False)
    return seed


@contextmanager
def no_grad() -> Iterator[None]:
    """Context manager in which operations on Tensors are computed and not recorded, in this thread only.

    >>> x = Tensor(np.ones(2))
    >>> with no_grad():
    ...     y = x * 2.0
    >>> y.node is None
    True
    """
    previous, mode.current = mode.current, CONSTANT
    try:
        yield
    finally:
        mode.current = previous


bind_tensor(Tensor)
