"""tinyattn equivalences: prints which mechanisms are equal, and by which law."""

from __future__ import annotations

import argparse

from tinyattn.catalog.graph import edges, markdown
from tinyattn.cli.outputs import check_outputs
from tinyattn.ops.files.atomic import replacing


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--out", metavar="FILE.md", help="write a file instead, as docs/equivalences.md")


def run(given: argparse.Namespace) -> int:
    """Prints the graph of mechanisms as Markdown, or writes it to a file."""
    check_outputs(out=given.out)
    if given.out is None:
        print(markdown(), end="")
        return 0
    with replacing(given.out, "w") as file:
        file.write(markdown())
    print(f"{given.out}: {len(edges())} laws between mechanisms")
    return 0
