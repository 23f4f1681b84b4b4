"""Tables and progress: with rich where it is installed and a terminal is there, in plain text otherwise."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tinyattn.cli.ends import say

# Seconds of the first step after which a line says that the work has begun, and seconds after which a step is told of though
# it is no tenth of the work.
SILENCE, PATIENCE = 1.0, 10.0
# The largest number that an option takes: beyond it there is no memory anywhere, and NumPy's own message names no option.
LARGEST = 1 << 40


def has_rich() -> bool:
    """Returns whether rich can be imported."""
    return sys.modules.get("rich", True) is not None and importlib.util.find_spec("rich") is not None


def columns() -> int:
    """Returns how many characters a line may have: those of the terminal, or of COLUMNS, else 80."""
    return shutil.get_terminal_size().columns


def paragraph(text: str, *, indent: str = "", hanging: str = "") -> None:
    """Prints text in lines that fit."""
    print(textwrap.fill(text, max(columns(), 20), initial_indent=indent, subsequent_indent=indent + hanging,
                        break_long_words=False, break_on_hyphens=False))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Prints rows under a header: the first column to the left, numbers to the right; rows too long for a line as blocks."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
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
    if sum(widths) + 2 * (len(widths) - 1) > columns():
        blocks(header, rows)
        return
    for line in (header, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip())


def blocks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints each row as its first cell and, below it, the others with their names, as many in a line as fit."""
    for first, *others in rows:
        print(first)
        line = ""
        for name, cell in zip(header[1:], others, strict=True):
            piece = f"{name}: {cell}"
            if cell and len(line) + len(piece) + 4 > columns():
                print(f"  {line}")
                line = ""
            line = f"{line}{'  ' if line else ''}{piece}" if cell else line
        print(f"  {line}")


class Bar:
    """Progress of one task, told on standard error."""

    def __init__(self, name: str, total: int, advance: Any) -> None:
        self.name, self.total, self.advance = name, total, advance

    def step(self, done: int, note: str) -> None:
        """Says how many of the total are done, with a note."""
        self.advance(done, note)


@contextmanager
def after_silence(line: str) -> Iterator[threading.Timer]:
    """Says a line if the block takes longer than a second; gives the timer, which can be cancelled."""
    begun = threading.Timer(SILENCE, lambda: say(line))
    begun.daemon = True
    with suppress(RuntimeError):  # where no thread can be had, whatever is said next comes first
        begun.start()
    try:
        yield begun
    finally:
        begun.cancel()


@contextmanager
def progress(name: str, total: int) -> Iterator[Bar]:
    """Gives a Bar: a moving one on a terminal, else a line after a second of silence, every tenth, and every ten seconds."""
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
        begun.cancel()
        now = time.perf_counter()
        if done * 10 // total > tenth or now - said > PATIENCE:
            tenth, said = done * 10 // total, now
            say(f"{name}: {done}/{total}  {note}  {now - started:.0f} s")

    with after_silence(f"{name}: 0/{total}") as begun:
        yield Bar(name, total, tell)


def positive(text: str) -> int:
    """Returns an option as an int of 1 or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= LARGEST:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, at most {LARGEST}, got {text[:60]!r}")
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
