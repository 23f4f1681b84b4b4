"""tinyattn equivalences: which mechanism is which, and by what law."""

from __future__ import annotations

import argparse

from tinyattn.catalog.graph import edges, markdown
from tinyattn.ops.files.atomic import check_writable, replacing


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--out", metavar="FILE.md", help="write a file instead; docs/equivalences.md is one")


def run(given: argparse.Namespace) -> int:
    """Prints the graph of mechanisms as Markdown, or writes it."""
    if not given.out:
        print(markdown(), end="")
        return 0
    check_writable(given.out)
    with replacing(given.out, "w") as file:
        file.write(markdown())
    print(f"{given.out}: {len(edges())} laws between mechanisms")
    return 0
