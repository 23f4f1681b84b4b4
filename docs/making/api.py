"""The reference: every public name of every part, with its docstring."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from types import ModuleType
from typing import Any

from tinyattn.catalog import ROWS

PARTS = (
    "tinyattn.engine", "tinyattn.ops", "tinyattn.ops.masks", "tinyattn.ops.positions", "tinyattn.definitions", "tinyattn.fastest",
    "tinyattn.parallel", "tinyattn.caches", "tinyattn.layers", "tinyattn.models", "tinyattn.laws",
    "tinyattn.catalog", "tinyattn.testing", "tinyattn.plot")


def public(module: ModuleType) -> list[str]:
    """Returns the public names of a module: those in `__all__`, or else the functions and classes that it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    return [name for name, value in own.items() if inspect.isfunction(value) or inspect.isclass(value)]


def part(name: str) -> str:
    """Returns the reference of one part as reStructuredText in Markdown; a package without names gives that of its files."""
    module = import_module(name)
    if not public(module):
        files = [f"{name}.{file.name}" for file in pkgutil.iter_modules(module.__path__)]
        return "\n\n".join([inspect.getdoc(module) or "", *(f"## {file}\n\n{part(file)}" for file in files)])
    lines = [inspect.getdoc(module) or "", "", "```{eval-rst}"]
    for member in public(module):
        value = getattr(module, member)
        before = PARTS[: PARTS.index(name)] if name in PARTS else ()
        elsewhere = (getattr(import_module(earlier), member, None) for earlier in before)
        if inspect.ismodule(value) or any(other is value for other in elsewhere):
            continue
        if inspect.isclass(value) or callable(value):
            lines += [f".. auto{'class' if inspect.isclass(value) else 'function'}:: {name}.{member}", ""]
        else:
            lines += [f".. py:data:: {name}.{member}", "", f"   {described(value)}", ""]
    return "\n".join([*lines, "```"])


def described(value: object) -> str:
    """Returns what a public constant holds; its own docstring would be that of its class.

    >>> described(("a", "b")), described((1.5, 2.5)), described(0)
    ('A tuple of the names ``a``, ``b``.', 'A tuple of 2 values of class ``float``.', 'The number 0.')
    """
    if not isinstance(value, tuple):
        return f"The number {value}."
    if all(isinstance(item, str) for item in value):
        return f"A tuple of the names {', '.join(f'``{item}``' for item in value)}."
    return f"A tuple of {len(value)} values of class ``{type(value[0]).__name__}``."


def kernels() -> str:
    """Returns the table of kernels, without importing them, because they need Numba."""
    lines = [f"| `tinyattn.kernels.{row.kernel}` | [{row.name}](/mechanisms/{row.name}.md) |" for row in ROWS if row.kernel]
    return "\n".join(["| kernel | definition |", "|---|---|", *lines])


def short(app: object, what: str, name: str, value: object, options: object, signature: str | None, returns: str | None) -> Any:
    """Returns the signature as in the source: arrays are called Array, and classes have no module before their names."""
    return without_modules(signature), without_modules(returns)


def without_modules(text: str | None) -> str | None:
    """Returns a signature with short names.

    >>> without_modules("(f: ~collections.abc.Callable[[~numpy.ndarray[tuple[Any], ~numpy.dtype[Any]]], float], at: float = 0.5)")
    '(f: Callable[[Array], float], at: float = 0.5)'
    """
    if text is None:
        return None
    arrays = re.sub(r"(?:~?numpy\.)?ndarray\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]", "Array", text)
    return re.sub(r"~?\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", arrays)


def as_rst(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Makes a docstring safe for reStructuredText: the * and | of a formula are escaped, and `x` becomes code."""
    told = False
    for at, line in enumerate(lines):
        told = line.lstrip().startswith(">>>") or (told and bool(line.strip()))
        if not told:
            plain = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
            lines[at] = "".join(piece if piece.startswith("``") else re.sub(r"([*|_])(?=\S)|(?<=\S)([*|_])", r"\\\g<0>", piece)
                                for piece in re.split(r"(``[^`]+``)", plain))
