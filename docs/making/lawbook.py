"""The laws as pages: every law once, who obeys it, the test that runs it, and what came of it when the site was built."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np

from tinyattn.catalog import ROWS
from tinyattn.catalog.row import Row
from tinyattn.laws import check, gradient, heads, linear, lse, masking, mean, score
from tinyattn.laws.law import Law
from tinyattn.laws.run import Report

GENERAL = (score, masking, mean, heads, lse, gradient, linear)
TEST = "tests/laws/test_laws.py::test_a_law_holds"


@dataclass(frozen=True, eq=False)
class Entry:
    """A law by its sentence: its anchor, and the mechanisms that it was asked of."""

    anchor: str
    law: Law
    rows: list[tuple[Row, Law]]


@cache
def entries() -> dict[tuple[str, str], Entry]:
    """Returns every law of the catalog by name and sentence, in the catalog's order."""
    found: dict[tuple[str, str], Entry] = {}
    times: dict[str, int] = {}
    for row in ROWS:
        for law in row.laws:
            key = (law.name, law.says)
            if key not in found:
                times[law.name] = times.get(law.name, 0) + 1
                suffix = f"-{times[law.name]}" if times[law.name] > 1 else ""
                found[key] = Entry(f"law-{law.name}{suffix}".replace("_", "-"), law, [])
            found[key].rows.append((row, law))
    return found


@cache
def ran(row: Row, law: Law) -> Report:
    """Returns what comes of trying a law of a row now; RuntimeError where it does not hold, which stops the build."""
    report = check(law.fitted(row.fit), row.mechanism, honest=row.mechanism, rng=np.random.default_rng(0), examples=1)
    if not report.holds:
        raise RuntimeError(f"{row.name}: {law.says} {report.failing}")
    return report


def outcome(row: Row, law: Law) -> str:
    """Returns the last run in a few words: how much of the measured budget the error took."""
    return "bit for bit" if law.exact else f"{ran(row, law).worst:.2f} of the budget"


def linked(row: Row, law: Law) -> str:
    """Returns a law's sentence as a link to its entry."""
    return f"[{law.says}](#{entries()[law.name, law.says].anchor})"


def of_row(row: Row) -> str:
    """Returns the laws of a row as lists: those that tie it to another mechanism, then its other forms, then all others."""
    def is_form(law: Law) -> bool:
        return not law.to and law.name.startswith(("equals_", "gradients_equal_"))

    groups = {"Ties to other mechanisms": [law for law in row.laws if law.to],
              "Other ways to compute it": [law for law in row.laws if is_form(law)],
              "What holds besides": [law for law in row.laws if not law.to and not is_form(law)]}
    text = [f"Run them here: `tinyattn check {row.name}`. When this page was built each was tried once; in brackets "
            "is how much of its measured error budget that run took.\n"]
    for title, laws in groups.items():
        if laws:
            text.append(f"**{title}**\n")
            text += [f"- {linked(row, law)}{other(law)} ({outcome(row, law)})" for law in laws]
            text.append("")
    return "\n".join(text)


def other(law: Law) -> str:
    """Returns a link to the mechanism that a law ties to, if it does, and how it is tied."""
    kind = "" if law.kind == "exact" else f", {law.kind}"
    return f" With [{law.to}](/mechanisms/{law.to}.md){kind}." if law.to else ""


def family(law: Law) -> str:
    """Returns the first line of the file of general laws in which a law stands, or else of that in which its sides are written."""
    homes = [module.__name__ for module in GENERAL if any(law.name == one.name for one in module.LAWS)]
    homes += [inspect.unwrap(side).__module__ for side in (law.left, law.right)]  # type: ignore[arg-type]
    home = next((home for home in homes if home not in ("tinyattn.laws.law", "tinyattn.laws.gradient")), homes[0])
    return (sys.modules[home].__doc__ or home).splitlines()[0].rstrip(".")


def page() -> str:
    """Returns the page of all laws, by family."""
    families: dict[str, list[Entry]] = {}
    for entry in entries().values():
        families.setdefault(family(entry.law), []).append(entry)
    text = []
    for title, group in families.items():
        text.append(f"## {title}\n")
        for entry in group:
            names = ", ".join(f"[{row.name}](/mechanisms/{row.name}.md)" for row, _ in entry.rows)
            worst = max(ran(row, law).worst for row, law in entry.rows)
            row, law = entry.rows[0]
            text += [f"({entry.anchor})=", f"**{law.says}** `{law.name}`\n",
                     f"{'Bit for bit' if law.exact else f'At most {worst:.2f} of its budget'}, run on {names}.\n",
                     f"```text\npytest '{TEST}[{row.name}-{law.name}]'\n```\n"]
    return "\n".join(text)
