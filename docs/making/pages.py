"""A mechanism's page: the sections written by hand, joined with everything that the catalog knows about it."""

from __future__ import annotations

import difflib
import inspect
import re

import tinyattn
from making import costs, lawbook, margin, pictures
from tinyattn import definitions
from tinyattn.catalog import ROWS
from tinyattn.catalog.row import Row

WRITTEN = ("Idea", "When to use it", "Formula", "Only here", "Line by line", "Neighbours", "Elsewhere")
# Where in a paper the formula stands, by its number on arXiv.
WHERE = {
    "1706.03762": "section 3.2.1, equation (1)", "2410.05258": "section 2.1", "2405.18719": "section 4, equations (3) to (6)",
    "2004.05150": "section 3.1",
    "2007.14062": "section 2", "2001.04451": "section 2", "2502.11089": "section 3", "2502.13189": "section 2.2",
    "2309.17453": "section 3.2", "2009.14794": "lemma 1", "2202.08791": "section 3.2", "2006.04768": "equation (7)",
    "2102.03902": "section 3", "2307.08621": "section 2, equations (5) to (7)", "2312.06635": "section 4", "2406.06484": "section 3",
    "2412.06464": "equation (10)", "2405.21060": "section 3", "2402.18668": "section 4", "2305.13245": "section 2",
    "2402.17463": "section 3", "2103.14030": "section 3.2, equation (4)", "2309.12307": "section 3.2", "1807.06521": "equation (3)",
    "2405.04434": "section 2.1.2", "2205.14135": "algorithm 1", "1805.02867": "algorithm 3", "2112.05682": "section 2",
    "1911.02150": "section 3", "1901.02860": "section 3.3", "1602.02068": "section 2", "2006.16236": "section 3.2",
    "2006.03654": "section 3.1", "2111.09883": "section 3.2", "2104.09864": "section 3.2", "1905.07799": "section 2.2",
    "2405.04517": "section 2.3", "2104.13840": "section 3.2", "1508.04025": "section 3.2", "1904.10509": "section 4",
    "2204.07143": "section 3.1", "2003.07853": "section 3", "2112.01526": "section 4.1",
    "2505.06708": "section 2.2, equation (5)", "2505.16381": "section 2", "2501.06425": "section 3.1", "2102.11174": "section 4.2",
    "2512.02556": "section 2.1, equations (1) and (2)", "2501.08313": "section 2.2.1", "2404.05892": "section 4.2.2",
    "2503.14456": "section 4.1", "2510.26692": "section 3, equation (1)", "2403.13298": "section 3.2",
    "2506.05233": "section 2", "2506.04761": "section 3", "1906.08237": "section 2.4"}
SECTIONS = ("The idea", "When to use it", "Formula", "Picture", "Only here", "Definition", "What it costs",
            "Laws", "Neighbours", "Elsewhere", "Papers")


def fragments(text: str) -> dict[str, str]:
    r"""Returns the sections that were written by hand; ValueError where one is missing, empty, unknown or out of order.

    >>> fragments("# Idea\nTwo.\n\n# Formula\n")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: expected the sections Idea, When to use it, ..., Neighbours, Elsewhere with words in each, got Idea
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


def called(name: str) -> str:
    """Returns how a definition is called; positions are among the small pieces.

    >>> called("attention"), called("rotary_2d")
    ('tinyattn.definitions.attention', 'tinyattn.ops.rotary_2d')
    """
    return f"tinyattn.{'definitions' if hasattr(definitions, name) else 'ops'}.{name}"


def facts(row: Row) -> str:
    """Returns what the catalog says about a mechanism as a table."""
    name = row.name if hasattr(definitions, row.name) else row.definition.__name__
    shapes = getattr(row.definition, "signature", "")
    lines = {"call": f"`{called(name)}`", "shapes of one head": f"`{shapes}`" if shapes else "",
             "kind": row.kind, "also called": ", ".join(row.aliases),
             "kernel": f"`tinyattn.kernels.{row.kernel}`" if row.kernel else "",
             "computed from the tokens": ", ".join(f"`{given.name}` ({given.axes})" for given in row.inputs)}
    return "\n".join(["| property | value |", "|---|---|", *(f"| {name} | {text} |" for name, text in lines.items() if text)])


def ways(row: Row) -> str:
    """Returns the table of the forms in which a mechanism can be called."""
    name = row.definition.__name__
    lines = [f"| definition | `{called(name)}` | NumPy, as shown above |"]
    lines += [f"| {'another form' if inspect.isfunction(inspect.unwrap(form)) else 'another mechanism'} | "
              f"`tinyattn.definitions.{form.__name__}` | NumPy |"
              for form in row.forms.values() if form is not row.definition and hasattr(definitions, getattr(form, "__name__", ""))]
    if row.kernel:
        lines.append(f"| kernel | `tinyattn.kernels.{row.kernel}` | compiled by Numba, forward and backward, over all cores |")
    if hasattr(tinyattn, row.name):
        when = "the kernel for large calls where Numba is installed, else NumPy" if row.kernel else "the definition: it has no kernel"
        lines.append(f"| the fastest of these | `tinyattn.{row.name}` | {when} |")
    return "\n".join(["| form | call | runs as |", "|---|---|---|", *lines])


def place(row: Row) -> str:
    """Returns where the formula stands in its papers, as links, or nothing where that is not known.

    >>> from tinyattn.catalog import find
    >>> print(place(find("multi_query_attention")).strip())
    In the paper: [Shazeer 2019, section 3](https://arxiv.org/pdf/1911.02150).
    """
    links = [f"[{paper.authors} {paper.year}, {WHERE[paper.arxiv]}](https://arxiv.org/pdf/{paper.arxiv})"
             for paper in row.papers if paper.arxiv in WHERE]
    return f"\n\nIn the paper: {'; '.join(links)}." if links else ""


def mechanism(row: Row, written: str) -> str:
    """Returns the whole page of a mechanism as MyST Markdown."""
    by_hand = fragments(written)
    flow, seen = pictures.flow(row)
    growth, grew = pictures.growth(row)
    cache = f"Cache bytes: `{row.cache_formula}`." if row.cache_bytes else "It has no cache of its own in the catalog."
    bodies = (
        f"{by_hand['Idea']}\n\n{facts(row)}",
        by_hand["When to use it"],
        by_hand["Formula"] + place(row),
        f"{raw(flow)}\n\n{seen}",
        by_hand["Only here"],
        margin.code(row, by_hand["Line by line"]),
        "\n\n".join(filter(None, (ways(row), costs.table(row), f"Time: `{row.cost}`. {cache}", raw(growth), grew))),
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
        heads = ["mechanism", "what it does"]
        cells = [[f"[{lawbook.readable(row.name)}](/mechanisms/{row.name}.md)", row.says] for row in rows]
        if any(row.cache_bytes for row in rows):
            heads.append("cache bytes")
            cells = [[*cell, f"`{row.cache_formula}`" if row.cache_bytes else ""] for cell, row in zip(cells, rows, strict=True)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *cells))
        tree = "\n".join(f"/mechanisms/{row.name}" for row in rows)
        text.append(f"## {folder.capitalize()}\n\n{table}\n\n"
                    f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n")
    return "\n".join(text)
