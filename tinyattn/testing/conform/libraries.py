"""Other array libraries, found by name: NumPy arrays become theirs and back, and their own reverse mode gives gradients."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tinyattn.engine.grad import vjp
from tinyattn.ops.types import Array

Function = Callable[..., Any]
NAMES = ("numpy", "torch", "jax", "mlx", "tinygrad", "mygrad", "autograd", "cupy")
MODULES = {"jax": "jax.numpy", "mlx": "mlx.core", "autograd": "autograd.numpy"}


class Library:
    """One array library: `give` makes its arrays, `take` turns them into NumPy's, `pull` is its own reverse mode."""

    def __init__(self, name: str) -> None:
        """Imports the library.

        Raises:
            ValueError: a library that is not installed, or one that has neither a known name nor DLPack.
        """
        self.name = name
        try:
            self.module: ModuleType = importlib.import_module(MODULES.get(name, name))
        except ImportError as error:
            raise ValueError(f"arrays: expected an installed library ({', '.join(NAMES)}, or any with DLPack), got {name!r}: "
                             f"{error}") from error
        if name not in NAMES and not hasattr(self.module, "from_dlpack"):
            raise ValueError(f"arrays: {name} has no from_dlpack, through which arrays could be exchanged")

    def give(self, x: Any, dtype: str) -> Any:
        """Returns an array of the library, floating numbers in `dtype`; an object that is not an array stays as it is."""
        if not isinstance(x, np.ndarray):
            return x
        floats = x.dtype.kind == "f"
        if self.name in ("numpy", "autograd", "mygrad"):
            own = np.array(x, dtype=np_dtype(dtype)) if floats else x.copy()
            return self.module.tensor(own) if self.name == "mygrad" and floats else own
        if self.name == "torch":
            made = self.module.from_numpy(x.copy())
            return made.to(getattr(self.module, dtype)) if floats else made
        if self.name == "tinygrad":
            made = self.module.Tensor(x.astype(np.float32) if floats and dtype != "float64" else x)
            return made.cast(getattr(self.module.dtypes, dtype)) if floats else made
        if self.name not in NAMES:  # a library of which only DLPack is known
            return self.module.from_dlpack(np.array(x, dtype=np_dtype(dtype)) if floats else x.copy())
        make = getattr(self.module, "array" if self.name == "mlx" else "asarray")
        made = make(x.astype(np.float32) if floats and dtype != "float64" else x.copy())
        return made.astype(getattr(self.module, dtype)) if floats else made

    def owns(self, x: Any) -> bool:
        """Returns whether x is an array of this library."""
        kinds = {"numpy": "ndarray", "torch": "Tensor", "jax": "Array", "mlx": "array", "tinygrad": "Tensor", "mygrad": "Tensor",
                 "autograd": "ndarray", "cupy": "ndarray"}
        if self.name == "autograd":
            return isinstance(x, np.ndarray)
        if self.name == "jax":
            return isinstance(x, importlib.import_module("jax").Array)
        kind = getattr(self.module, kinds[self.name], None) if self.name in kinds else None
        return isinstance(x, kind) if isinstance(kind, type) else hasattr(x, "__dlpack__")

    def take(self, x: Any) -> Array:
        """Returns an array of the library as NumPy's; 16-bit numbers as float32."""
        if self.name == "torch":
            x = x.detach().cpu()
            return np.asarray((x.float() if x.is_floating_point() and x.element_size() == 2 else x).numpy())
        if self.name == "mlx" and x.dtype in (self.module.bfloat16, self.module.float16):
            x = x.astype(self.module.float32)
        if self.name in ("tinygrad", "mygrad", "cupy"):
            x = {"tinygrad": lambda: x.float().numpy(), "mygrad": lambda: x.data, "cupy": lambda: x.get()}[self.name]()
        made = np.asarray(np.from_dlpack(x) if not isinstance(x, np.ndarray) and self.name not in NAMES else x)
        return made.astype(np.float32) if made.dtype.itemsize == 2 and made.dtype.kind in "fV" else made

    def dtype_of(self, x: Any) -> str:
        """Returns the name of an array's dtype."""
        if self.name not in NAMES:
            return str(np.from_dlpack(x).dtype)
        return str(x.dtype).removeprefix("torch.").removeprefix("mlx.core.").removeprefix("dtypes.")

    def pull(self, function: Function, arrays: Sequence[Any], d_out: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Returns the gradients of sum(d_out * function(*arrays)) with respect to the arrays, by the library's own reverse mode.

        `d_out` makes the cotangent from the output. Raises LookupError where the library has no reverse mode.
        """
        if self.name == "torch":
            leaves = [x.clone().requires_grad_(True) for x in arrays]
            out = function(*leaves)
            return tuple(self.module.autograd.grad(out, leaves, d_out(out), allow_unused=True))
        if self.name == "jax":
            out, back = importlib.import_module("jax").vjp(function, *arrays)
            return tuple(back(d_out(out)))
        if self.name == "mlx":
            out = function(*arrays)
            _, gradients = self.module.vjp(lambda *given: [function(*given)], list(arrays), [d_out(out)])
            return tuple(gradients)
        if self.name == "autograd":
            back, out = importlib.import_module("autograd").make_vjp(lambda given: function(*given), argnum=0)(tuple(arrays))
            return tuple(back(d_out(out)))
        if self.name == "mygrad":
            out = function(*arrays)
            (out * d_out(out)).sum().backward()
            return tuple(x.grad for x in arrays)
        if self.name == "tinygrad":
            leaves = [x.clone().requires_grad_(True) for x in arrays]
            out = function(*leaves)
            (out * d_out(out)).sum().backward()
            return tuple(x.grad for x in leaves)
        if self.name == "numpy":
            out, back = vjp(lambda given: function(*given), tuple(arrays))
            return tuple(back(d_out(out)))
        raise LookupError(f"{self.name} has no reverse mode that is known here")


def np_dtype(name: str) -> Any:
    """Returns NumPy's dtype of a name; that of bfloat16 comes from ml_dtypes.

    Raises:
        ValueError: bfloat16 where ml_dtypes is not installed.
    """
    if name != "bfloat16":
        return np.dtype(name)
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError as error:
        raise ValueError("dtype: bfloat16 arrays of NumPy need ml_dtypes (pip install ml_dtypes)") from error
