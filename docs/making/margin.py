"""The code of a definition, and beside its lines the reasons that a page gives for them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tinyattn.catalog.row import Row

ROOT = Path(__file__).resolve().parents[2]


class Note(NamedTuple):
    """A piece of code, why it is there, and where it is: the function, its line from 1 on, and the column."""

    function: int
    line: int
    column: int
    code: str
    why: str


def shown(row: Row) -> list[Any]:
    """Returns the definition of a mechanism and the functions of its own file that it calls, without those that check arguments."""
    definition = inspect.unwrap(row.definition)
    module = sys.modules[definition.__module__]
    tree = ast.parse(textwrap.dedent(inspect.getsource(definition)))
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not node.id.startswith("check_")]
    own = [getattr(module, name, None) for name in dict.fromkeys(names)]
    return [definition, *(inspect.unwrap(value) for value in own if inspect.isfunction(value) and value.__module__ == module.__name__)]


def lines(function: Any) -> list[str]:
    """Returns the lines of a function; those of its docstring are empty, so that no note can stand beside them."""
    text = inspect.getsource(function)
    doc = re.search(r' {4}r?""".*?"""', text, re.S)
    return (text if doc is None else text[: doc.start()] + "\n" * doc[0].count("\n") + text[doc.end():]).splitlines()


def notes(row: Row, told: str) -> list[Note]:
    """Returns the notes of a page in the order of the code; ValueError for code that is not there."""
    found, code = [], [lines(function) for function in shown(row)]
    for piece, why in re.findall(r"^- `(.+?)`: (.+(?:\n  .+)*)", told, re.M):
        places = [(n, at, line.index(piece)) for n, text in enumerate(code) for at, line in enumerate(text, 1) if piece in line]
        if not places:
            raise ValueError(f"Line by line: the definition has no {piece}")
        n, at, column = places[0]
        more = code[n][at - 1][column + len(piece):].strip()
        found.append(Note(n, at, column, f"{piece} …" if more or piece[-1] in "(,+=" else piece, " ".join(why.split())))
    return sorted(found)


def table(found: Iterable[Note]) -> str:
    """Returns notes as a table, the code at the left and the reason at the right."""
    def rows() -> Iterator[str]:
        for note in found:
            yield f"| `{note.code.replace('|', chr(92) + '|')}` | {note.why} |"

    head = ["**Line by line**", "", ":::{container} margin", "", "| the marked line | why |", "|---|---|"]
    return "\n".join([*head, *rows(), "", ":::"])


def literal(function: Any, marked: Iterable[int] = ()) -> str:
    """Returns a function as an inclusion of its source, with some of its lines marked."""
    path = Path(inspect.getsourcefile(function) or "").resolve().relative_to(ROOT)
    emphasis = ",".join(map(str, sorted(set(marked))))
    return (f"```{{literalinclude}} /../{path}\n:pyobject: {function.__name__}\n:caption: {path}\n"
            + (f":emphasize-lines: {emphasis}\n" if emphasis else "") + "```")


def code(row: Row, told: str) -> str:
    """Returns the definition with its notes, and the other forms folded."""
    found, functions = notes(row, told), shown(row)
    open_ = [literal(function, [note.line for note in found if note.function == n]) for n, function in enumerate(functions)]
    forms = (inspect.unwrap(form) for form in row.forms.values())
    others = [form for form in forms if inspect.isfunction(form) and form not in functions]
    folded = [f"<details><summary>{form.__name__}</summary>\n\n{literal(form)}\n\n</details>" for form in others]
    return "\n\n".join([*open_, table(found), *folded])
