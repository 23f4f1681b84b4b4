"""The reference: every public name of every part, from its docstring."""

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
    "tinyattn.caches", "tinyattn.layers", "tinyattn.models", "tinyattn.laws", "tinyattn.catalog", "tinyattn.testing", "tinyattn.plot")


def public(module: ModuleType) -> list[str]:
    """Returns the public names of a module: what it lists, or the functions and classes that it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    return [name for name, value in own.items() if inspect.isfunction(value) or inspect.isclass(value)]


def part(name: str) -> str:
    """Returns the reference of one part as reStructuredText inside Markdown; of a package without names, that of its files."""
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
        kind = "autoclass" if inspect.isclass(value) else "autofunction" if callable(value) else "autodata"
        lines += [f".. {kind}:: {name}.{member}", *(["   :no-value:"] if kind == "autodata" else []), ""]
    return "\n".join([*lines, "```"])


def kernels() -> str:
    """Returns the table of kernels; they are not imported, as they need Numba."""
    lines = [f"| `tinyattn.kernels.{row.kernel}` | [{row.name}](/mechanisms/{row.name}.md) |" for row in ROWS if row.kernel]
    return "\n".join(["| kernel | definition |", "|---|---|", *lines])


def short(app: object, what: str, name: str, value: object, options: object, signature: str | None, returns: str | None) -> Any:
    """Returns the signature with arrays called Array, as in the source."""
    def named(text: str | None) -> str | None:
        return text and re.sub(r"(?:~?numpy\.)?ndarray\[[^\[\]]*\[[^\[\]]*\]\]", "Array", text)

    return named(signature), named(returns)


def as_rst(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Makes a docstring's plain text safe for reStructuredText: a formula's * and | are no markup, `x` is code."""
    told = False
    for at, line in enumerate(lines):
        told = line.lstrip().startswith(">>>") or (told and bool(line.strip()))
        if not told:
            plain = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
            lines[at] = "".join(piece if piece.startswith("``") else re.sub(r"([*|_])(?=\S)|(?<=\S)([*|_])", r"\\\g<0>", piece)
                                for piece in re.split(r"(``[^`]+``)", plain))
