"""The Sphinx extension that completes the pages: each mechanism's from its catalog row, others where they hold a marker."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import live

import tinyattn
from making import api, costs, formulas, graph, lawbook, learned, outside, pages, poster, told
from tinyattn.catalog import ROWS

HERE = Path(__file__).resolve().parent.parent
BUILD = HERE.parent / "build" / "docs"
DIAGRAM = re.compile(r"```mermaid\n.*?```\n\nEach arrow [^\n]*", re.S)
MADE = re.compile(r"^<!-- made: ([\w ]+?)(?: (tinyattn[\w.]*))? -->$", re.M)


def first_picture() -> str:
    """Returns the picture that the live page shows before the browser computes anything."""
    return f'<div id="shown">{live.drawn(live.compute(live.FIRST))}</div>'


def choices() -> str:
    """Returns the mechanisms of the live page as HTML options, each with the settings that it takes."""
    options = []
    for row in filter(live.reads_tokens, ROWS):
        takes = " ".join(live.takes(row))
        chosen = " selected" if row.name == live.FIRST["mechanism"] else ""
        options.append(f'<option value="{row.name}" data-takes="{takes}"{chosen}>{row.name}</option>')
    return "".join(options)


def controls() -> str:
    """Returns the form of the live page, with the settings of the first picture."""
    first = live.FIRST
    return f"""<form id="settings" data-wheel="tinyattn-{tinyattn.__version__}-py3-none-any.whl">
<label class="wide">sentence
<input name="sentence" value="{html.escape(first['sentence'])}" maxlength="200" autocomplete="off"></label>
<label>mechanism <select name="mechanism">{choices()}</select></label>
<label>heads <select name="heads"><option>1</option><option>2</option><option selected>4</option><option>8</option></select></label>
<label>query heads per key head <select name="shared"><option>1</option><option selected>2</option><option>4</option></select></label>
<label>window <input name="window" type="number" min="0" max="24" value="{first['window']}" placeholder="none"></label>
<label>softcap <input name="softcap" type="number" min="0.1" step="0.1" placeholder="none"></label>
<label class="check"><input name="causal" type="checkbox" checked> causal</label>
<button type="button" id="start">Run it here</button>
</form>
<p id="state" role="status">This picture was computed when the page was built. The button
loads Python and NumPy, 17 MB, from this site.</p>"""


MAKERS: dict[str, Callable[[], str]] = {
    "mechanisms": pages.index, "laws": lawbook.index, "graph": lambda: pages.raw(graph.markup()),
    "kernels": api.kernels, "learned": learned.section,
    "poster": lambda: pages.raw(poster.panels(poster.measured((HERE.parent / "README.md").read_text()))),
    "first picture": lambda: pages.raw(first_picture()), "controls": lambda: pages.raw(controls()),
    **{f"laws {name}": partial(lawbook.page, name) for name in lawbook.SHELVES}}


def prepare(app: Any, config: Any) -> None:
    """Puts the files that the site needs from outside where Sphinx copies them from; a part of the site may do without most."""
    told.plainly(BUILD / "ipython")
    outside.mathjax(BUILD / "static" / "mathjax")
    if not {"**", "live.md"} & set(config.include_patterns):
        return
    absent = outside.runtime(BUILD / "static" / "pyodide", BUILD / "downloads")
    if absent:
        print(f"The live page will show its picture, but cannot run: {absent}")
    outside.wheel(HERE.parent, BUILD / "static" / "wheel")


def fill(app: Any, docname: str, source: list[str]) -> None:
    """Replaces each marker of a page by what it names."""
    if docname.startswith("mechanisms/"):
        row = next(row for row in ROWS if f"mechanisms/{row.name}" == docname)
        try:
            source[0] = pages.mechanism(row, source[0])
        except ValueError as error:
            raise ValueError(f"docs/{docname}.md: {error}") from error
    if docname == "equivalences":  # the diagram and its legend are for readers of Markdown; the site draws its own
        source[0] = DIAGRAM.sub("The [family tree](graph.md) draws these laws.", source[0])
    source[0] = re.sub(r"\n\n```$", "\n```", source[0], flags=re.M)  # an example's last empty line is for doctest alone
    source[0] = formulas.broken(source[0])
    source[0] = MADE.sub(lambda found: made(found[1], found[2]), source[0])


def made(what: str, module: str | None) -> str:
    """Returns what a marker stands for: the reference of a module, or of some of its folders, or else what its maker makes."""
    kind, _, folders = what.partition(" ")
    return api.part(module, folders or None) if kind == "reference" and module else MAKERS[what]()


def stamp() -> str:
    """Returns a number that changes with every source from which pages are completed."""
    total = hashlib.sha256()
    for folder in (HERE.parent / "tinyattn", HERE / "making", HERE / "_static" / "live"):
        for path in sorted(folder.rglob("*.py")):
            total.update(path.read_bytes())
    for path in sorted(costs.FILE.parent.glob("*.json")):
        total.update(path.read_bytes())
    return total.hexdigest()


def completed(app: Any, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Returns the pages to read again although their text is the same: those completed from sources that have changed."""
    before, env.tinyattn_sources = getattr(env, "tinyattn_sources", None), stamp()
    if before == env.tinyattn_sources:
        return []
    return [name for name in env.found_docs if name.startswith("mechanisms/") or MADE.search(Path(env.doc2path(name)).read_text())]


def setup(app: Any) -> dict[str, bool]:
    """Registers with Sphinx; pages that depend on the catalog are read anew when a source changes."""
    app.connect("config-inited", prepare, priority=100)  # before Sphinx looks whether the static folder exists
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", api.untyped, priority=100)  # before napoleon reads the docstring
    app.connect("autodoc-process-docstring", api.as_rst)
    app.connect("autodoc-process-signature", api.short)
    app.connect("viewcode-follow-imported", api.home_of)
    app.connect("env-get-outdated", completed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
