"""Compiling: when a kernel is first called, and kept on disk where that can be.

Kept in a folder of the user's own named by a hash of all kernel sources: Numba's index looks at a kernel's own file
only, and would keep one that calls an older version of another file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

try:
    import llvmlite
    import numba
    from numba import types
    from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
except ImportError as missing:
    raise ImportError("tinyattn.kernels needs Numba: pip install 'numba>=0.61'") from missing

from tinyattn.kernels.tiles.libraries import KernelCompiler, PartCompiler

DISABLED = bool(numba.config.DISABLE_JIT)
# contract, reassoc and nsz are harmless to NaN and inf; nnan and ninf, which fastmath=True adds, are not.
REASSOCIATED = {"reassoc", "contract", "nsz"}

# The folders of mechanisms hold no compiled code: a change in them leaves what is compiled as it was.
MECHANISMS = {"softmax", "sparse", "linear", "lowrank", "spatial"}

# Without entries from Python and C, which a function that only kernels call has no use for, compiling takes a third less.
# Without counts of references, which are atomic: a kernel's arrays outlive what it calls, and of a window of 49 tokens the
# counts were a fifth of the time. Such a function makes no arrays.
INNER: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False,
                         "pipeline_class": PartCompiler}


def part(**options: Any) -> Callable[..., Any]:
    """Returns the decorator of a function that only kernels call, compiled once for all constants that it is called with.

    For each constant Numba would else compile it anew. Written into its caller instead, with `inline`, it took a sixth more of a
    first call's time.
    """
    def of(function: Callable[..., Any]) -> Any:
        made = numba.njit(**INNER, **options)(function)
        if not DISABLED:
            made.get_call_template = partial(template_of, made)
        return made

    return of


def template_of(made: Any, kinds: tuple[Any, ...], names: dict[str, Any]) -> Any:
    """Returns how Numba calls a function with arguments of these types, constants among them taken for numbers."""
    return type(made).get_call_template(made, [types.unliteral(kind) for kind in kinds],
                                        {name: types.unliteral(kind) for name, kind in names.items()})


inlined: Callable[..., Any] = part()
reassociated: Callable[..., Any] = part(fastmath=REASSOCIATED)


def compiled(kernel: Callable[..., Any]) -> Any:
    """Returns the kernel, compiled at its first call or read from the disk; in memory alone where no folder is writable."""
    made = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, pipeline_class=KernelCompiler)(kernel)
    if not DISABLED:
        with contextlib.suppress(OSError, RuntimeError):
            made._cache = KernelCache(kernel)
    return made


def sources_hash() -> str:
    """Returns a hash of every source that is compiled or read while compiling, and of what compiles them."""
    total = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version}".encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        if path.parent.name not in MECHANISMS:
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


def cache_folder() -> Path:
    """Returns where compiled kernels of these sources are kept."""
    given = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    if given:
        base = Path(given)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return base / "tinyattn" / f"kernels-{sources_hash()}"


class Locator(_CacheLocator):  # type: ignore[misc]
    """Where Numba keeps these kernels: in one folder, whatever file they come from."""

    def __init__(self) -> None:
        self.folder = cache_folder()

    @classmethod
    def from_function(cls, _function: Any, _file: str) -> Locator:
        locator = cls()
        locator.ensure_cache_path()
        return locator

    def get_cache_path(self) -> str:
        return str(self.folder)

    def get_source_stamp(self) -> str:
        return self.folder.name

    def get_disambiguator(self) -> None:
        return None


class Implementation(CompileResultCacheImpl):  # type: ignore[misc]
    """Numba's way of storing what it compiled, with our place for it."""

    _locator_classes = (Locator,)


class KernelCache(FunctionCache):  # type: ignore[misc]
    """A cache that is a convenience: a file that cannot be read or written is one that is not there."""

    _impl_class = Implementation

    def load_overload(self, signature: Any, target: Any) -> Any:
        # A file cut short, flipped bits, one of another version: each raises an error of its own.
        with contextlib.suppress(Exception):
            return super().load_overload(signature, target)
        return None

    def save_overload(self, signature: Any, data: Any) -> None:
        with contextlib.suppress(Exception):
            super().save_overload(signature, data)
