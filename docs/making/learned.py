"""What small models learn from text: the report of `tinyattn compare --mechanisms all --json FILE`, as a table by family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyattn.catalog.graph import families

FILE = Path(__file__).resolve().parents[1] / "measured" / "compare.json"
COLUMNS = ("bits per byte", "training", "writing", "without a cache", "bytes of cache")
# The report as the command writes it; the losses of single steps are not needed and may be left out.
Report = Mapping[str, Any]


def report(file: Path = FILE) -> Report:
    """Returns the report that a file holds."""
    read: Report = json.loads(file.read_text(encoding="utf-8"))
    return read


def settings(read: Report) -> str:
    """Returns in a sentence what was trained, when, and on what.

    >>> settings(report())[:65]
    'Measured on 2026-11-29 with Python 3.11.7, NumPy 2.4.6 and 2 core'
    """
    given, machine = read["settings"], read["machine"]
    seen = given["steps"] * given["batch"] * given["context"] / 1e6
    return (f"Measured on {machine['date']} with Python {machine['python']}, NumPy {machine['numpy']} and "
            f"{machine['processors']} cores, {given['processes']} models at a time with one thread each. "
            f"Every model has {given['layers']} layers of width {given['width']} ({given['parameters']:,} parameters with attention) "
            f"and reads single bytes. It is trained on the {given['text']}'s source code for {given['steps']:,} steps of "
            f"{given['batch']} pieces of {given['context']} bytes, {seen:.1f} million bytes in all, with seed {given['seed']}.")


def table(read: Report) -> str:
    """Returns one row per mechanism, by family in the order of the catalog, the best of each family first, and the bigram last."""
    lines = {line["mechanism"]: line for line in read["rows"]}
    body: list[list[str]] = []
    for family in families():
        own = sorted((lines[row.name] for row in family.rows if row.name in lines), key=lambda line: float(line["bits_per_byte"]))
        if own:
            body += [[f"**{family.says}**", *[""] * len(COLUMNS)], *map(figures, own)]
    body.append(["*bigram*", f"{read['settings']['bigram_bits_per_byte']:.3f}", *[""] * (len(COLUMNS) - 1)])
    rows = [["mechanism", *COLUMNS], ["---", *["---:"] * len(COLUMNS)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figures(line: Mapping[str, Any]) -> list[str]:
    """Returns a mechanism as a link and its numbers as texts, in the order of the columns.

    >>> figures(report()["rows"][0])
    ['[attention](../mechanisms/attention.md)', '2.173', '43,728', '1,487', '86', '512']
    """
    name = line["mechanism"]
    keys = ("train_tokens_per_s", "decode_cached_tokens_per_s", "decode_uncached_tokens_per_s", "cache_bytes_per_token")
    return [f"[{name}](../mechanisms/{name}.md)", f"{line['bits_per_byte']:.3f}", *(f"{line[key]:,.0f}" for key in keys)]


def section(file: Path = FILE) -> str:
    """Returns what was trained, and the table."""
    read = report(file)
    return f"{settings(read)}\n\n{table(read)}"
