"""What the fastest form of a mechanism costs: the rows that `tinyattn time mechanisms` wrote, as a table that is explained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tinyattn.catalog import ROWS
from tinyattn.catalog.row import Row

FILE = Path(__file__).resolve().parents[1] / "measured" / "mechanisms.json"
COLUMNS = ("ms", "share of a product", "times the definition", "of dense attention", "growth")
# A row as the command writes it.
Line = Mapping[str, Any]


@cache
def measured(file: Path) -> list[Line]:
    """Returns the rows of a file, none where it is absent."""
    if not file.exists():
        return []
    rows: list[Line] = json.loads(file.read_text(encoding="utf-8"))
    return rows


def names(row: Row) -> set[str]:
    """Returns the names under which a mechanism is timed: its own, and those of its forms that have no page of their own.

    >>> from tinyattn.catalog import find
    >>> sorted(names(find("dual_chunk_attention")))
    ['dual_chunk_attention', 'dual_chunk_attention_merged']
    """
    forms = {getattr(form, "__name__", row.name) for form in row.forms.values()}
    return {row.name} | (forms - {other.name for other in ROWS})


def spread(values: Iterable[Any], word: str) -> str:
    """Returns the least and the greatest of some values, or the one that they all are.

    >>> spread([1024, 128, 128], "to"), spread([1024, 1024], "to")
    ('128 to 1,024', '1,024')
    """
    ends = [f"{value:,}" if isinstance(value, int) else str(value) for value in sorted(set(values))]
    return ends[0] if len(ends) == 1 else f"{ends[0]} {word} {ends[-1]}"


def table(row: Row, file: Path = FILE) -> str:
    """Returns the table of a mechanism's costs, with the machine, the date and what each column means; nothing without rows.

    Raises:
        ValueError: rows that were measured on different machines or at different lengths, which no table can compare.
    """
    lines = [line for line in measured(file) if line["mechanism"] in names(row)]
    if not lines:
        return ""
    timed = {line["mechanism"] for line in lines}
    if len({(line["cores"], line["vector bits"], line["tokens"], line["long"]) for line in lines}) > 1:
        anew = f"tinyattn time mechanisms --only {','.join(sorted(timed))} --json docs/measured/{file.name}"
        raise ValueError(f"the rows of {row.name} in {file.name} were measured on different machines or at different lengths; "
                         f"measure them anew: {anew}")
    first, several = lines[0], len({called(line) for line in lines}) > 1
    head = [*(["form"] if several else []), "pass", *COLUMNS]
    align = ["---"] * (len(head) - len(COLUMNS)) + ["---:"] * len(COLUMNS)
    body = [[*([called(line)] if several else []), line["pass"], *figures(line)] for line in lines]
    registers = f" and vector registers of {first['vector bits']} bits" if first["vector bits"] else ""
    days = {line["date"] for line in lines}
    when = f"{'on' if len(days) == 1 else 'from'} {spread(days, 'to')}"
    return (f"Measured {when} with {first['cores']} cores{registers}: the fastest form in "
            "float32, on 8 heads of 64 channels, causal where the mechanism can be.\n\n"
            + "\n".join(f"| {' | '.join(cells)} |" for cells in (head, align, *body))
            + f"\n\n*ms* is the time of {first['tokens']:,} tokens in milliseconds. *Share of a product* is the speed at "
              f"{first['long']:,} tokens beside that of NumPy's product of two matrices on the same machine; what is counted as work "
              "is the scores that a query sees, in whole tiles of 64 × 64, or the products with a state. *Times the definition* says "
              "how many times as long the definition takes, for "
              f"{spread((line['tokens of definition'] for line in lines), 'to')} tokens. *Of dense attention* is the time divided by "
              f"that of exact causal attention to all {first['tokens']:,} tokens. *Growth* is the time of {first['long']:,} tokens "
              f"divided by that of {first['tokens']:,}: {first['long'] // first['tokens']} if it grows with the length, "
              f"{(first['long'] // first['tokens']) ** 2} if with its square.")


def called(line: Line) -> str:
    """Returns the name of the form that a row measures.

    >>> called({"mechanism": "attention", "variant": "softcap"})
    '`attention`, softcap'
    """
    return f"`{line['mechanism']}`" + (f", {line['variant']}" if line["variant"] else "")


def figures(line: Line) -> list[str]:
    """Returns the numbers of a row as texts, in the order of the columns."""
    digits = 1 if line["ms"] >= 10 else 2
    return [f"{line['ms']:,.{digits}f}", f"{line['of the product']:.0%}".replace("%", " %"), f"{line['times definition']:,.1f}",
            f"{line['of dense']:.2f}", f"{line['growth']:.1f}"]
