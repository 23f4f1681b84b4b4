"""The table of a comparison: 80 columns wide, with a line of explanation per column below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinyattn.cli.terminal import paragraph, plain_table

WIDTH = 80


def print_table(first: str, legend: Mapping[str, str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under the names of their columns, `first` and those of the legend, and then the legend."""
    plain_table([first, *legend], rows, WIDTH)
    print()
    room = max(map(len, legend))
    for name, says in legend.items():
        paragraph(f"{name:<{room}}  {says}", hanging=" " * (room + 2))


def budgets(number: float) -> str:
    """Returns an error in budgets as a short text.

    >>> budgets(0.2534), budgets(12345678.0)
    ('0.25', '1.2e+07')
    """
    return f"{number:.2f}" if number < 1000 else f"{number:.1e}"
