"""A mechanism's page: the sections written by hand, joined with everything that the catalog knows about it."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import sys
import textwrap
from pathlib import Path

from making import lawbook, pictures
from tinyattn import definitions
from tinyattn.catalog import ROWS
from tinyattn.catalog.row import Row

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = ("Idea", "When to use it", "Formula", "Only here", "Neighbours", "Elsewhere")
SECTIONS = ("The idea", "When to use it", "Formula", "Picture", "Only here", "Definition", "What it costs",
            "Laws", "Neighbours", "Elsewhere", "Papers")


def fragments(text: str) -> dict[str, str]:
    r"""Returns the sections that were written by hand; ValueError where one is missing, empty, unknown or out of order.

    >>> fragments("# Idea\nTwo.\n\n# Formula\n")
    Traceback (most recent call last):
    ValueError: expected the sections Idea, When to use it, Formula, Only here, Neighbours, Elsewhere with words in each, got Idea
    """
    parts = re.split(r"^# (.+)\n", text, flags=re.M)
    found = {name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    held = [name for name, body in found.items() if body]
    if held != list(WRITTEN):
        raise ValueError(f"expected the sections {', '.join(WRITTEN)} with words in each, got {', '.join(held)}")
    return found


def source(name: str) -> list[str]:
    """Returns the lines of a definition without its docstring."""
    function = inspect.unwrap(getattr(definitions, name))
    text = inspect.getsource(function)
    doc = function.__doc__
    return re.sub(r'    """.*?"""\n', "", text, count=1, flags=re.S).splitlines() if doc else text.splitlines()


def differences(text: str) -> str:
    """Returns the text with every line `@diff a b` replaced by the difference from definition a to definition b."""
    def diff(match: re.Match[str]) -> str:
        lines = list(difflib.unified_diff(source(match[1]), source(match[2]), match[1], match[2], lineterm="", n=1))
        return "```diff\n" + "\n".join(line for line in lines if not line.startswith("@@")) + "\n```"

    return re.sub(r"^@diff (\w+) (\w+)$", diff, text, flags=re.M)


def raw(markup: str) -> str:
    """Returns HTML as a MyST block that passes it into the page unchanged."""
    return f"````{{raw}} html\n{markup}\n````"


def included(row: Row) -> str:
    """Returns the definition and its other forms as inclusions of their source."""
    def literal(function: object) -> str:
        path = Path(inspect.getsourcefile(inspect.unwrap(function)) or "").resolve().relative_to(ROOT)  # type: ignore[arg-type]
        name = inspect.unwrap(function).__name__  # type: ignore[arg-type]
        return f"```{{literalinclude}} /../{path}\n:pyobject: {name}\n:caption: {path}\n```"

    shown = [row.definition, *helpers(row.definition)]
    forms = [form for form in row.forms.values() if inspect.isfunction(inspect.unwrap(form)) and form is not row.definition]
    hidden = "".join(f"\n<details><summary>{form.__name__}</summary>\n\n{literal(form)}\n\n</details>\n" for form in forms)
    return "\n\n".join(map(literal, shown)) + "\n" + hidden


def helpers(function: object) -> list[object]:
    """Returns the functions of a definition's own file that it calls, without those that check its arguments."""
    module = sys.modules[inspect.unwrap(function).__module__]  # type: ignore[arg-type]
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))  # type: ignore[arg-type]
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not node.id.startswith("check_")]
    own = [getattr(module, name, None) for name in dict.fromkeys(names)]
    return [value for value in own if inspect.isfunction(value) and value.__module__ == module.__name__
            and not hasattr(value, "signature")]


def facts(row: Row) -> str:
    """Returns what the catalog says about a mechanism as a table."""
    name = row.name if hasattr(definitions, row.name) else row.definition.__name__
    shapes = getattr(row.definition, "signature", "")
    lines = {"call": f"`tinyattn.definitions.{name}`", "shapes of one head": f"`{shapes}`" if shapes else "",
             "kind": row.kind, "also called": ", ".join(row.aliases),
             "kernel": f"`tinyattn.kernels.{row.kernel}`" if row.kernel else "",
             "computed from the tokens": ", ".join(f"`{given.name}` ({given.axes})" for given in row.inputs)}
    return "\n".join(["| property | value |", "|---|---|", *(f"| {name} | {text} |" for name, text in lines.items() if text)])


def mechanism(row: Row, written: str) -> str:
    """Returns the whole page of a mechanism as MyST Markdown."""
    try:
        by_hand = fragments(written)
    except ValueError as error:
        raise ValueError(f"docs/mechanisms/{row.name}.md: {error}") from error
    flow, seen = pictures.flow(row)
    growth, grew = pictures.growth(row)
    cache = f"Cache bytes: `{row.cache_formula}`." if row.cache_bytes else "It has no cache of its own in the catalog."
    bodies = (
        f"{by_hand['Idea']}\n\n{facts(row)}",
        by_hand["When to use it"],
        by_hand["Formula"],
        f"{raw(flow)}\n\n{seen}",
        by_hand["Only here"],
        included(row),
        f"Time: `{row.cost}`. {cache}\n\n{raw(growth)}\n\n{grew}",
        lawbook.of_row(row),
        differences(by_hand["Neighbours"]),
        by_hand["Elsewhere"],
        "\n".join(f"- {paper.authors} {paper.year}, [arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})"
                  for paper in row.papers),
    )
    sections = "\n\n".join(f"## {name}\n\n{body}" for name, body in zip(SECTIONS, bodies, strict=True))
    return f"# {lawbook.readable(row.name)}\n\n*{row.says}*\n\n{sections}\n"


def index() -> str:
    """Returns one table of mechanisms, and one tree of their pages, per folder of definitions."""
    folders: dict[str, list[Row]] = {}
    for row in ROWS:
        folders.setdefault(inspect.unwrap(row.definition).__module__.split(".")[2], []).append(row)
    text = []
    for folder, rows in folders.items():
        cache = {row.name: f"`{row.cache_formula}`" if row.cache_bytes else "" for row in rows}
        table = "\n".join(f"| [{lawbook.readable(row.name)}](/mechanisms/{row.name}.md) | {row.says} | {cache[row.name]} |"
                          for row in rows)
        tree = "\n".join(f"/mechanisms/{row.name}" for row in rows)
        text.append(f"## {folder.capitalize()}\n\n| mechanism | what it does | cache bytes |\n|---|---|---|\n{table}\n\n"
                    f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n")
    return "\n".join(text)
