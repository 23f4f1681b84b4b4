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
COLON = "\ue000"  # stands for a colon while napoleon reads


def public(module: ModuleType) -> list[str]:
    """Returns the public names of a module: those in `__all__`, or else the functions and classes that it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    return [name for name, value in own.items() if inspect.isfunction(value) or inspect.isclass(value)]


def in_order(module: ModuleType) -> list[str]:
    """Returns the public names in the order in which the module's docstring lists their files; constants come first."""
    files = re.findall(r"^    (\w+)(?:\.py|/) ", inspect.getdoc(module) or "", re.M)

    def place(name: str) -> int:
        home = str(getattr(inspect.unwrap(getattr(module, name)), "__module__", "")).removeprefix(module.__name__ + ".").split(".")[0]
        return files.index(home) if home in files else -1

    return sorted(public(module), key=place)


def introduction(module: ModuleType) -> str:
    """Returns a module's docstring without the list of its files, which is for readers of the code."""
    return re.sub(r"\n*Its files, in reading order:\n\n(?:    .*\n?)+", "", (inspect.getdoc(module) or "") + "\n").strip()


def folder_of(value: object) -> str:
    """Returns the folder, or else the file, of a part in which a function is written; chunked forms count as a folder of their own."""
    plain = inspect.unwrap(value)  # type: ignore[arg-type]
    home = str(getattr(plain, "__module__", "")).split(".")
    return "chunked" if getattr(plain, "__name__", "").endswith("_chunked") else home[2] if len(home) > 2 else ""


def file_of(value: object) -> str:
    """Returns the file of a folder in which a function is written."""
    home = str(getattr(inspect.unwrap(value), "__module__", "")).split(".")  # type: ignore[arg-type]
    return home[3] if len(home) > 3 else ""


def entry(name: str, member: str, value: object) -> list[str]:
    """Returns the directive of one public name; that of a second name of a function points to the first."""
    if inspect.isclass(value):
        return [f".. autoclass:: {name}.{member}", ""]
    if not callable(value):
        return [f".. py:data:: {name}.{member}", "", f"   {described(value)}", ""]
    first = getattr(inspect.unwrap(value), "__name__", member)
    if first != member and getattr(import_module(name), first, None) is value:
        return [f".. py:function:: {name}.{member}", "", f"   Another name of :py:func:`{name}.{first}`.", ""]
    return [f".. autofunction:: {name}.{member}", ""]


def part(name: str, folder: str | None = None) -> str:
    """Returns the reference of one part, or of those of its folders and files that are named, as reStructuredText in Markdown.

    A package without names gives that of its files. A function that is the fastest form of a definition becomes a row of a
    table, because it has the definition's own docstring.
    """
    module = import_module(name)
    if not public(module):
        files = [f"{name}.{file.name}" for file in pkgutil.iter_modules(module.__path__)]
        return "\n\n".join([introduction(module), *(f"## {file}\n\n{part(file)}" for file in files)])
    lines, table = ["", "```{eval-rst}"], []
    for member in in_order(module):
        value = getattr(module, member)
        before = PARTS[: PARTS.index(name)] if name in PARTS else ()
        elsewhere = [getattr(import_module(earlier), member, None) for earlier in before]
        not_asked = folder and not {folder_of(value), file_of(value)} & set(folder.split())
        if not_asked or inspect.ismodule(value) or any(other is value for other in elsewhere):
            continue
        if any(inspect.unwrap(other) is inspect.unwrap(value) for other in elsewhere if callable(other)):
            first = inspect.unwrap(value).__name__
            table.append(f"| {{py:func}}`tinyattn.{member} <tinyattn.definitions.{first}>` | {first_line(value)} |")
        else:
            lines += entry(name, member, value)
    if table:
        table = ["", "| function, with a link to its definition | what it returns |", "|---|---|", *table, ""]
    return "\n".join([introduction(module) if folder is None else "", *table, *lines, "```"])


def first_line(value: object) -> str:
    """Returns the first line of a docstring for a cell of a table."""
    return (inspect.getdoc(value) or "").splitlines()[0].replace("|", "\\|")


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
    """Returns the signature as in the source: arrays are called Array, classes have no module, and long defaults are three dots."""
    return without_long_defaults(without_modules(signature)), without_modules(returns)


def without_modules(text: str | None) -> str | None:
    """Returns a signature with short names.

    >>> without_modules("(f: ~collections.abc.Callable[[~numpy.ndarray[tuple[Any], ~numpy.dtype[Any]]], float], at: float = 0.5)")
    '(f: Callable[[Array], float], at: float = 0.5)'
    """
    if text is None:
        return None
    arrays = re.sub(r"(?:~?numpy\.)?ndarray\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]", "Array", text)
    return re.sub(r"~?\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", arrays)


def without_long_defaults(text: str | None) -> str | None:
    """Returns a signature in which a default that is an object, or is long, is three dots.

    >>> without_long_defaults("(make: Any = <class 'GrowingCache'>, *, at: int = 3, laws=(Law(name='a, b'), Law(name='c, d')))")
    '(make: Any = ..., *, at: int = 3, laws=...)'
    """
    if text is None:
        return None
    parts, depth, start = [], 0, 1
    for at, sign in enumerate(text[:-1]):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 1:
            parts.append(text[start:at])
            start = at + 1
    kept = [re.sub(r"( ?= ?)(?:<.*|.{28,})$", r"\1...", part, flags=re.S) for part in [*parts, text[start:-1]]]
    return f"({','.join(kept)})"


def home_of(app: object, module: str | None, name: str) -> str | None:
    """Returns the module in which a documented name is written: that of its class for a member, whatever the member holds.

    >>> home_of(None, "tinyattn.catalog", "Row.layer")
    'tinyattn.catalog.row'
    """
    value = None if module is None else getattr(import_module(module), name.split(".")[0], None)
    return getattr(inspect.unwrap(value) if callable(value) else value, "__module__", None)


def untyped(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Hides the colons of a property's first line until `as_rst`: napoleon takes the words before one for a type."""
    if what in ("attribute", "property") and lines:
        lines[0] = lines[0].replace(":", COLON)


def as_rst(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Makes a docstring safe for reStructuredText: the * and | of a formula are escaped, and `x` becomes code."""
    told, lines[:] = False, [line.replace(COLON, ":") for line in lines]
    for at, line in enumerate(lines):
        told = line.lstrip().startswith(">>>") or (told and bool(line.strip()))
        if not told:
            plain = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
            lines[at] = "".join(piece if piece.startswith("``") else re.sub(r"([*|_])(?=\S)|(?<=\S)([*|_])", r"\\\g<0>", piece)
                                for piece in re.split(r"(``[^`]+``)", plain))
