"""tinyattn vectors OUT: test vectors in files that any language can read."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyattn.catalog import ROWS, find
from tinyattn.cli.terminal import seed
from tinyattn.testing.conform.vectors import write_schema, write_vectors


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("out", metavar="OUT", help="the folder to write, which is made if it is not there")
    parser.add_argument("--like", nargs="+", metavar="NAME", default=["attention"], help="mechanisms, or all (default attention)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the generator (default 0)")


def run(given: argparse.Namespace) -> int:
    """Writes the vectors."""
    rows = list(ROWS) if given.like == ["all"] else [find(name) for name in given.like]
    folder = Path(given.out)
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for row in rows:
        entries[row.name] = write_vectors(folder, row, seed=given.seed)
        print(f"{entries[row.name]['file']}: {len(entries[row.name]['cases'])} cases, sha256 {entries[row.name]['sha256'][:16]}")
    write_schema(folder, entries)
    return 0
