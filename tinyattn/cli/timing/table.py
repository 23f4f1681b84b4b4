"""A table of `tinyattn time`: how its rows are measured, printed and drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One table: what it measures, in words, and `rows(rounds)`, which measures it and returns what --json writes.

    `shown` turns a row into texts under the names of the columns, the same names for each row; `draw(path, rows, rounds)`
    writes the picture of --plot where the table has one.
    """

    says: str
    rows: Callable[[int], list[Row]]
    shown: Callable[[Row], dict[str, str]] = dict
    draw: Callable[[str, list[Row], int], None] | None = None
