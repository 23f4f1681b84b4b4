"""The laws as pages, one per family: every law once, the mechanisms that obey it, its test, and its result when the site was built."""

from __future__ import annotations

import inspect
import re
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
MOST_NAMES = 6  # of the mechanisms of a law; their own pages list all laws
SHELVES = {"general": "Laws of many mechanisms", "softmax": "Laws of softmax attention", "sparse": "Laws of sparse attention",
           "linear": "Laws of linear attention and states", "lowrank": "Laws of low-rank attention",
           "spatial": "Laws of attention on images", "positions": "Laws of positions"}


# Names and compounds whose spelling in the field is not that of a Python name.
SPELT = {"bigbird": "BigBird", "cosformer": "cosFormer", "deepseek": "DeepSeek", "delta product": "DeltaProduct",
         "grouped query": "grouped-query", "llm": "LLM", "log linear": "log-linear", "lse": "LSE", "lsh": "LSH",
         "mlstm": "mLSTM", "multi head": "multi-head", "multi query": "multi-query", "nystrom": "Nyström",
         "path": "PaTH", "qk": "QK", "rotary 2d": "rotary 2D", "rwkv6": "RWKV-6", "rwkv7": "RWKV-7",
         "stick breaking": "stick-breaking", "streaming llm": "StreamingLLM", "talking heads": "talking-heads",
         "top k": "top-k"}


def readable(name: str) -> str:
    """Returns a name as a title, in the spelling of the field.

    >>> readable("multi_head_attention"), readable("rwkv7"), readable("mlstm")
    ('Multi-head attention', 'RWKV-7', 'mLSTM')
    """
    known = "|".join(sorted(SPELT, key=len, reverse=True))
    title = re.sub(rf"\b({known})\b", lambda found: SPELT[found[1]], name.replace("_", " "))
    return title if title.partition(" ")[0].lower() != title.partition(" ")[0] else title[0].upper() + title[1:]


@dataclass(frozen=True, eq=False)
class Entry:
    """A law by its sentence: its anchor, and the mechanisms for which it is tested."""

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
    """Returns the report of testing a law of a row now; RuntimeError where it does not hold, which stops the build."""
    report = check(law.fitted(row.fit), row.mechanism, honest=row.mechanism, rng=np.random.default_rng(0), examples=1)
    if not report.holds:
        raise RuntimeError(f"{row.name}: {law.says} {report.failing}")
    return report


def outcome(row: Row, law: Law) -> str:
    """Returns the result of the last run in a few words: the error as a part of the measured budget."""
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
              "Further properties": [law for law in row.laws if not law.to and not is_form(law)]}
    text = [f"Test them on your machine with `tinyattn check {row.name}`. Each was tested once when this page was built; "
            "the number in brackets is the error of that run as a part of the error budget measured for it.\n"]
    for title, laws in groups.items():
        if laws:
            text.append(f"**{title}**\n")
            text += [f"- {linked(row, law)}{other(law)} ({outcome(row, law)})" for law in laws]
            text.append("")
    return "\n".join(text)


def other(law: Law) -> str:
    """Returns a link to the other mechanism of a law and the kind of the law, or nothing where there is no other."""
    kind = "" if law.kind == "exact" else f", {law.kind}"
    return f" With [{law.to}](/mechanisms/{law.to}.md){kind}." if law.to else ""


def family(law: Law) -> str:
    """Returns the first line of the file of general laws in which a law stands, or else of that in which its sides are written."""
    homes = [module.__name__ for module in GENERAL if any(law.name == one.name for one in module.LAWS)]
    homes += [inspect.unwrap(side).__module__ for side in (law.left, law.right)]  # type: ignore[arg-type]
    home = next((home for home in homes if home not in ("tinyattn.laws.law", "tinyattn.laws.gradient")), homes[0])
    return (sys.modules[home].__doc__ or home).splitlines()[0].rstrip(".")


def shelf(entry: Entry) -> str:
    """Returns the page on which a law stands: the folder of its mechanisms, or general if they are of several folders."""
    folders = {inspect.unwrap(row.definition).__module__.split(".")[2] for row, _ in entry.rows}
    return folders.pop() if len(folders) == 1 else "general"


def told(entry: Entry) -> list[str]:
    """Returns a law as its anchor and a paragraph: its sentence, its mechanisms, its test and the last run."""
    shown = entry.rows if len(entry.rows) <= MOST_NAMES else entry.rows[: MOST_NAMES - 1]
    names = ", ".join(f"[{row.name}](/mechanisms/{row.name}.md)" for row, _ in shown)
    names += f" and {len(entry.rows) - len(shown)} more" if len(shown) < len(entry.rows) else ""
    worst = max(ran(row, law).worst for row, law in entry.rows)
    row, law = entry.rows[0]
    error = "bit for bit" if law.exact else f"error at most {worst:.2f} of its budget"
    return [f"({entry.anchor})=", f"**{law.says}** Tested on {names}: {error}. Test: `{row.name}-{law.name}`.\n"]


def page(name: str) -> str:
    """Returns the laws of one page: the general ones by subject, those of a folder by mechanism."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries().values():
        if shelf(entry) == name:
            title = family(entry.law) if name == "general" else readable(entry.rows[0][0].name)
            groups.setdefault(title, []).append(entry)
    text = []
    for title, group in groups.items():
        head, _, rest = title.partition(": ")
        text.append(f"## {head}\n" + (f"\n{rest[0].upper()}{rest[1:]}.\n" if rest else ""))
        text += [line for entry in group for line in told(entry)]
    return "\n".join(text)


def shelves() -> dict[str, int]:
    """Returns the pages of laws in the catalog's order, the general one first, with the number of laws on each."""
    counts = {"general": 0}
    for entry in entries().values():
        counts[shelf(entry)] = counts.get(shelf(entry), 0) + 1
    return counts


def index() -> str:
    """Returns the table of the pages of laws."""
    lines = [f"| [{SHELVES[name]}](laws/{name}.md) | {count} |" for name, count in shelves().items()]
    return "\n".join(["| laws | how many |", "|---|---|", *lines])
