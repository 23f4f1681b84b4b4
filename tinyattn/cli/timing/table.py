"""A table of `tinyattn time`: how its rows are measured, printed and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tinyattn.cli.outputs import Line


@dataclass(frozen=True)
class Table:
    """One table: what it measures, in words, and `rows(rounds)`, which measures it and returns what --json writes.

    `shown` turns a row into texts under the names of the columns, the same names for each row; `draw(path, rows, rounds)`
    writes the picture of --plot where the table has one. `rounds` is how often it measures unless told otherwise.

    Where a table has names, `rows(rounds, names)` measures the rows of these alone, one after the other, and the columns of `key`
    tell its rows apart.
    """

    says: str
    rows: Callable[..., Iterable[Line]]
    shown: Callable[[Line], dict[str, str]] = dict
    draw: Callable[[str, list[Line], int], None] | None = None
    rounds: int = 15
    names: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
