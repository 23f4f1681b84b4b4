"""Prints every public name with its signature: `python tests/public.py > tests/public.txt` writes the list anew."""

import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType

import tinyattn

MODULES = ("tinyattn", "tinyattn.engine", "tinyattn.ops", "tinyattn.ops.masks", "tinyattn.ops.positions", "tinyattn.ops.files",
           "tinyattn.ops.files.safetensors", "tinyattn.definitions", "tinyattn.kernels", "tinyattn.fastest", "tinyattn.caches",
           "tinyattn.layers", "tinyattn.models", "tinyattn.parallel", "tinyattn.laws", "tinyattn.catalog", "tinyattn.testing",
           "tinyattn.plot")
KERNELS = "tinyattn.kernels"


def public(module: ModuleType) -> list[str]:
    """Returns a module's public names: its `__all__`, else the functions and classes that it defines; no submodules."""
    own = [name for name, value in vars(module).items() if not name.startswith("_") and callable(value)
           and getattr(value, "__module__", "") == module.__name__]
    parts = {part.name for part in pkgutil.iter_modules(module.__path__)} if module is tinyattn else set()
    return sorted(set(getattr(module, "__all__", own)) - parts)


def default(value: object) -> str:
    """Returns a default as text that no version of Python or NumPy spells in its own way; what is long or an object is '...'."""
    if isinstance(value, type) or inspect.isroutine(value):
        return value.__name__
    text = repr(value)
    return text if isinstance(value, (int, float, str, tuple, type(None))) and len(text) < 60 and " at 0x" not in text else "..."


def signature(function: object) -> str:
    """Returns names, order, kinds and defaults of the arguments; annotations are left to mypy: NumPy's aliases change."""
    found = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name != "self"]
    text = []
    for at, p in enumerate(bare):
        before = bare[at - 1].kind if at else None
        if p.kind is p.KEYWORD_ONLY and before not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            text.append("*")
        if before is p.POSITIONAL_ONLY and p.kind is not p.POSITIONAL_ONLY:
            text.append("/")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        text.append(star + p.name + ("" if p.default is p.empty else "=" + default(p.default)))
    return f"({', '.join(text)}{', /' if bare and bare[-1].kind is inspect.Parameter.POSITIONAL_ONLY else ''})"


def methods(kind: type) -> Iterator[str]:
    """Yields the public methods and properties of a class that this package defines, inherited ones too."""
    homes = [base for base in kind.__mro__ if base.__module__.startswith("tinyattn.")]
    for name in sorted({name for base in homes for name in vars(base)}):
        value = inspect.getattr_static(kind, name)
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(value, (classmethod, staticmethod)):
            yield f".{name}{signature(getattr(kind, name))}"
        elif inspect.isroutine(value):
            yield f".{name}{signature(value)}".replace("(cls, ", "(")
        elif isinstance(value, property):
            yield f".{name}"


def lines(modules: Iterable[str] = MODULES) -> Iterator[str]:
    """Yields one line per public name and per public method."""
    for module_name in modules:
        module = import_module(module_name)
        for name in public(module):
            value, path = getattr(module, name), f"{module_name}.{name}"
            if isinstance(value, type):
                made = not getattr(value, "_is_protocol", False) and any(
                    base.__module__.startswith("tinyattn.") for base in value.__mro__ if {"__init__", "__new__"} & set(vars(base)))
                yield path + (signature(value) if made else "")
                yield from (path + method for method in methods(value))
            elif callable(value):
                yield path + signature(value)
            elif isinstance(value, int):
                yield f"{path} = {value}"
            else:
                yield path


if __name__ == "__main__":
    print(*lines(), sep="\n")
