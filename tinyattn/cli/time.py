"""tinyattn time: measures alternatives in turns, after a warm-up, and prints their ratios."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Collection
from functools import partial

from tinyattn.catalog import ROWS
from tinyattn.cli.ends import INTERRUPTED
from tinyattn.cli.names import canonical, each
from tinyattn.cli.outputs import check_outputs, check_picture, write_json
from tinyattn.cli.parser import arguments_of
from tinyattn.cli.terminal import positive, table
from tinyattn.cli.timing import attention, caches, generate, import_time, kernels, mechanisms, model, step, train
from tinyattn.cli.timing.kept import can_be_replaced, kept
from tinyattn.cli.timing.table import Table

TABLES = {"train": train.TABLE, "step": step.TABLE, "generate": generate.TABLE, "caches": caches.TABLE, "attention": attention.TABLE,
          "import": import_time.TABLE, "kernels": kernels.TABLE, "mechanisms": mechanisms.TABLE}
MODEL = "model"
# Variables that make NumPy's products slower than they are without.
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("what", type=str.lower, choices=[*TABLES, MODEL], metavar="WHAT",
                        help="; ".join([*(f"{name}: {known.says}" for name, known in TABLES.items()), f"{MODEL}: {model.SAYS}"]))
    parser.add_argument("--file", metavar="FILE", help="model: a GGUF file, a folder with config.json, or a file of tinyattn train")
    parser.add_argument("--rounds", type=positive, metavar="N",
                        help="how often each is measured, in turns (default 15; mechanisms: 7, fewer where they take long)")
    parser.add_argument("--only", metavar="NAMES", help="mechanisms: measure these alone, names separated by commas")
    parser.add_argument("--json", metavar="FILE", help="write what was measured; mechanisms: row by row, and other rows of FILE stay")
    parser.add_argument("--plot", metavar="FILE", help="kernels, mechanisms: draw what was measured (png, svg, pdf)")


def row_named(name: str, known: Collection[str]) -> str:
    """Returns the row of a table that is meant, by its own name or by any name of its mechanism.

    >>> row_named("GQA", ("attention", "grouped_query_attention"))
    'grouped_query_attention'
    """
    aliases = {alias: row.name for row in ROWS for alias in row.aliases if row.name in known}
    meant = canonical(name, [*known, *aliases], "mechanism")
    return aliases.get(meant, meant)


def run(given: argparse.Namespace) -> int:
    """Measures and prints; where variables slow NumPy down, a child process without them does it."""
    slowing = [name for name in SLOWING if name in os.environ]
    if slowing:
        print(f"{' and '.join(slowing)} slow NumPy's products here; measured without, in a child process", flush=True)
        return in_clean_child(given)
    chosen = chosen_by(given)
    if given.plot is not None and chosen.draw is None:
        drawn = " and ".join(name for name, known in TABLES.items() if known.draw is not None)
        raise ValueError(f"--plot: only {drawn} are drawn, not {given.what!r}")
    if given.only is not None and not chosen.names:
        raise ValueError(f"--only: only mechanisms has rows to choose from, not {given.what!r}")
    check_outputs(json=given.json, plot=given.plot)
    check_picture(given.plot)
    rounds = chosen.rounds if given.rounds is None else given.rounds
    measured = partial(chosen.rows, rounds)
    if given.only is not None:
        measured = partial(measured, each(given.only, partial(row_named, known=chosen.names), "--only"))
    by_row = given.json is not None and chosen.key and can_be_replaced(given.json)
    try:
        lines = kept(measured(), given.json, chosen.key) if by_row else list(measured())
    except subprocess.CalledProcessError as failed:
        says = os.fsdecode(failed.stderr)[-200:]
        raise ValueError(f"a process that measures failed with code {failed.returncode}: {says}") from None
    texts = [chosen.shown(line) for line in lines]
    table(list(texts[0]), [list(text.values()) for text in texts])
    if given.json is not None and not by_row:
        write_json(lines, given.json)
    if given.plot is not None and chosen.draw is not None:
        chosen.draw(given.plot, lines, rounds)
    return 0


def chosen_by(given: argparse.Namespace) -> Table:
    """Returns the table that is asked for; ValueError for a table of a model without its file, or a file for another table."""
    if (given.what == MODEL) != (given.file is not None):
        raise ValueError("--file: give the model to measure, as `tinyattn time model --file FILE`" if given.file is None
                         else f"--file: only model measures a file, not {given.what!r}")
    return TABLES[given.what] if given.file is None else Table(model.SAYS, partial(model.time_model, given.file))


def in_clean_child(given: argparse.Namespace) -> int:
    """Runs the same command in a child process without the variables that slow it down, and returns its exit code."""
    clean = {name: value for name, value in os.environ.items() if name not in SLOWING}
    try:
        return subprocess.run([sys.executable, "-m", "tinyattn", *arguments_of(given, "what")], env=clean, check=False).returncode
    except KeyboardInterrupt:
        return INTERRUPTED  # the child has printed that
