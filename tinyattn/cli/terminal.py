"""Tables and progress: by rich where it is installed and the output is a terminal, in plain text otherwise."""

from __future__ import annotations

import argparse
import importlib.util
import math
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tinyattn.cli.ends import say

# If the first step takes longer than the first number of seconds, a line says that the work has begun. If the last line is
# older than the second number of seconds, a step gets a line before the next tenth of the work is done.
SILENCE, PATIENCE = 1.0, 10.0
# The largest number that an option takes: no memory is large enough for more, and NumPy's own message would name no option.
LARGEST = 1 << 40


def has_rich() -> bool:
    """Returns whether rich can be imported."""
    return sys.modules.get("rich", True) is not None and importlib.util.find_spec("rich") is not None


def columns() -> int:
    """Returns how many characters fit in a line: as many as the terminal or the variable COLUMNS says, else 80."""
    return shutil.get_terminal_size().columns


def paragraph(text: str, *, indent: str = "", hanging: str = "") -> None:
    """Prints a text in lines that fit."""
    print(textwrap.fill(text, max(columns(), 20), initial_indent=indent, subsequent_indent=indent + hanging,
                        break_long_words=False, break_on_hyphens=False))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Prints rows under a header, in a grid of rich where it is installed and the output is a terminal with room for it."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if sys.stdout.isatty() and has_rich() and sum(widths) + 3 * len(widths) + 1 <= columns():
        from rich.console import Console
        from rich.table import Table
        grid = Table(title=title or None, title_justify="left")
        for i, name in enumerate(header):
            grid.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
        for row in rows:
            grid.add_row(*row)
        Console().print(grid)
        return
    if title:
        print(title)
    plain_table(header, rows, columns())


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> None:
    """Prints rows under a header in lines of at most `room` characters, the first column to the left, the others to the right.

    A row of a single cell is a title of the rows below it. Where a row does not fit in a line, every row is a block instead:
    its first cell, and below it the others with the names of their columns, as many in a line as fit.
    """
    full = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(header, *full, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= room:
        for line in (header, ["-" * width for width in widths], *rows):
            print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                            for i, (cell, width) in enumerate(zip(line, widths, strict=False))).rstrip())
        return
    for first, *others in rows:
        print(first)
        pieces = [f"  {name}: {cell}" for name, cell in zip(header[1:], others, strict=False) if cell]
        line = ""
        for piece in pieces:
            if line and len(line) + len(piece) > room:
                print(line)
                line = ""
            line += piece
        if line:
            print(line)


@dataclass(frozen=True)
class Bar:
    """The progress of one task, shown on standard error: `step(done, note)` shows how much of it is done, with a note."""

    step: Callable[[int, str], None]


@contextmanager
def after_silence(line: str) -> Iterator[threading.Timer]:
    """Prints a line on standard error if the block takes longer than a second; gives the timer, which can be cancelled."""
    begun = threading.Timer(SILENCE, lambda: say(line))
    begun.daemon = True
    with suppress(RuntimeError):  # without a thread to wait in, the line is left out
        begun.start()
    try:
        yield begun
    finally:
        begun.cancel()


@contextmanager
def progress(name: str, total: int) -> Iterator[Bar]:
    """Gives a Bar: a moving one on a terminal; elsewhere a line for every tenth of the work, and after long silence."""
    if sys.stderr is not None and sys.stderr.isatty() and has_rich():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        with Progress(TextColumn("{task.description:<18}"), BarColumn(bar_width=16), MofNCompleteColumn(),
                      TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=Console(stderr=True)) as shown:
            task = shown.add_task(name, total=total, note="")
            yield Bar(lambda done, note: shown.update(task, completed=done, note=note))
        return
    started = time.perf_counter()
    tenth, said = 0, started

    def tell(done: int, note: str) -> None:
        nonlocal tenth, said
        begun.cancel()
        now = time.perf_counter()
        if done * 10 // total > tenth or now - said > PATIENCE:
            tenth, said = done * 10 // total, now
            say(f"{name}: {done}/{total}  {note}  {now - started:.0f} s")

    with after_silence(f"{name}: 0/{total}") as begun:
        yield Bar(tell)


def integer(text: str, least: int, most: float = math.inf) -> int:
    """Returns an option as an int from `least` to `most`."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        bound = "" if most == math.inf else f", at most {most}"
        raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more{bound}, got {text[:60]!r}")
    return number


def positive(text: str) -> int:
    """Returns an option as an int of 1 or more."""
    return integer(text, 1, LARGEST)


def seed(text: str) -> int:
    """Returns an option as an int of 0 or more."""
    return integer(text, 0)
