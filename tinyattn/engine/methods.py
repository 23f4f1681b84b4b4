"""The methods of ndarray that a Tensor has: each calls the function of the same name, with ndarray's parameters."""

from __future__ import annotations

from typing import Any

import numpy

from tinyattn.engine.moves import cast

np: Any = numpy  # for type checkers NumPy's functions take no Tensor


class Methods:
    """Mixin: `t.sum(0)` is `np.sum(t, 0)`, with the same refusals."""

    __slots__ = ()

    @property
    def T(self) -> Any:
        """All axes reversed."""
        return np.transpose(self)

    @property
    def mT(self) -> Any:
        """The last two axes swapped."""
        return np.matrix_transpose(self)

    def astype(self, dtype: Any, order: Any = "K", casting: Any = "unsafe", subok: Any = True, copy: Any = True) -> Any:
        """The same numbers in another floating dtype; their gradient comes back in the dtype of this Tensor."""
        if (order, casting, subok) != ("K", "unsafe", True):
            raise TypeError("astype: order=, casting= and subok= are not honoured for a Tensor; use .value")
        return cast(self, dtype)

    def reshape(self, *shape: Any, order: Any = "C", copy: Any = None) -> Any:
        """As `np.reshape`; takes a tuple or separate numbers."""
        options = {} if copy is None else {"copy": copy}  # NumPy 2.0 has no such argument
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, order, **options)

    def transpose(self, *axes: Any) -> Any:
        """As `np.transpose`; takes a tuple or separate numbers."""
        return np.transpose(self, axes[0] if len(axes) == 1 else axes or None)

    def swapaxes(self, axis1: Any, axis2: Any, /) -> Any:
        """As `np.swapaxes`."""
        return np.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Any:
        """As `np.squeeze`."""
        return np.squeeze(self, axis)

    def flatten(self, order: Any = "C") -> Any:
        """As `np.ravel`."""
        return np.ravel(self, order)

    def ravel(self, order: Any = "C") -> Any:
        """As `np.ravel`."""
        return np.ravel(self, order)

    def copy(self, order: Any = "C") -> Any:
        """As `np.copy`: another Tensor of the same numbers, on the same graph."""
        return np.copy(self, order)

    def clip(self, min: Any = None, max: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As `np.clip`."""
        return np.clip(self, min, max, out=out, **kwargs)

    def dot(self, other: Any, /, out: Any = None) -> Any:
        """As `np.dot`."""
        return np.dot(self, other, out=out)

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **kwargs: Any) -> Any:
        """As `np.sum`."""
        return np.sum(self, axis, dtype, out, keepdims, **kwargs)

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **kwargs: Any) -> Any:
        """As `np.prod`."""
        return np.prod(self, axis, dtype, out, keepdims, **kwargs)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **kwargs: Any) -> Any:
        """As `np.mean`."""
        return np.mean(self, axis, dtype, out, keepdims, **kwargs)

    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False,
            **kwargs: Any) -> Any:
        """As `np.var`."""
        return np.var(self, axis, dtype, out, ddof, keepdims, **kwargs)

    def std(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False,
            **kwargs: Any) -> Any:
        """As `np.std`."""
        return np.std(self, axis, dtype, out, ddof, keepdims, **kwargs)

    def max(self, axis: Any = None, out: Any = None, keepdims: Any = False, **kwargs: Any) -> Any:
        """As `np.max`; ties share the gradient evenly."""
        return np.max(self, axis, out, keepdims, **kwargs)

    def min(self, axis: Any = None, out: Any = None, keepdims: Any = False, **kwargs: Any) -> Any:
        """As `np.min`; ties share the gradient evenly."""
        return np.min(self, axis, out, keepdims, **kwargs)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        """As `np.cumsum`."""
        return np.cumsum(self, axis, dtype, out)

    def argmax(self, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
        """As `np.argmax`: a plain array of indices."""
        return np.argmax(self, axis, out, keepdims=keepdims)

    def any(self, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
        """As `np.any`: a plain boolean array."""
        return np.any(self, axis, out, keepdims, where=where)

    def all(self, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
        """As `np.all`: a plain boolean array."""
        return np.all(self, axis, out, keepdims, where=where)
