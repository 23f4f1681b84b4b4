"""Tables and progress: with rich where it is installed and a terminal is there, in plain text otherwise."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinyattn.cli.ends import say

# Seconds after which a step that takes long is told of, though it is no tenth of the work.
PATIENCE = 10.0


def has_rich() -> bool:
    """Returns whether rich can be imported."""
    return sys.modules.get("rich", True) is not None and importlib.util.find_spec("rich") is not None


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Prints rows under a header: the first column to the left, numbers to the right."""
    if sys.stdout.isatty() and has_rich():
        from rich.console import Console
        from rich.table import Table
        grid = Table(title=title or None, title_justify="left")
        for i, name in enumerate(header):
            grid.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            grid.add_row(*row)
        Console().print(grid)
        return
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    if title:
        print(title)
    for line in (header, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip())


class Bar:
    """Progress of one task, told on standard error."""

    def __init__(self, name: str, total: int, advance: Any) -> None:
        self.name, self.total, self.advance = name, total, advance

    def step(self, done: int, note: str) -> None:
        """Says how many of the total are done, with a note."""
        self.advance(done, note)


@contextmanager
def progress(name: str, total: int) -> Iterator[Bar]:
    """Gives a Bar: a moving one on a terminal, else a line at the start, every tenth, and after every ten seconds."""
    if sys.stderr is not None and sys.stderr.isatty() and has_rich():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        with Progress(TextColumn("{task.description:<18}"), BarColumn(bar_width=16), MofNCompleteColumn(),
                      TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=Console(stderr=True)) as shown:
            task = shown.add_task(name, total=total, note="")
            yield Bar(name, total, lambda done, note: shown.update(task, completed=done, note=note))
        return
    started = time.perf_counter()
    tenth, said = 0, started

    def tell(done: int, note: str) -> None:
        nonlocal tenth, said
        now = time.perf_counter()
        if done * 10 // total > tenth or now - said > PATIENCE:
            tenth, said = done * 10 // total, now
            say(f"{name}: {done}/{total}  {note}  {now - started:.0f} s")

    say(f"{name}: 0/{total}")
    yield Bar(name, total, tell)


def positive(text: str) -> int:
    """Returns an option as an int of 1 or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return number


def seed(text: str) -> int:
    """Returns an option as an int of 0 or more."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return number
