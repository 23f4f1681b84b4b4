"""tinyattn museum: runs the laws on wrong attentions and prints which law catches which."""

from __future__ import annotations

import argparse
from itertools import count

from tinyattn.cli.names import canonical
from tinyattn.cli.terminal import columns, paragraph, positive, progress, seed
from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.matrix import kills, render


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one wrong attention, by its name (default: all)")
    parser.add_argument("--examples", type=positive, default=10, metavar="N", help="problems per law (default 10)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of the problems that are drawn (default 0)")


def run(given: argparse.Namespace) -> int:
    """Prints the matrix of twins and laws; returns 1 if a twin is killed by no law."""
    twins = {twin.name: twin for twin in MUSEUM}
    museum = [*MUSEUM] if given.name is None else [twins[canonical(given.name, twins, "wrong attention")]]
    done = count(1)
    with progress("museum", len(museum)) as bar:
        matrix = kills(museum, seed=given.seed, examples=given.examples, tell=lambda twin: bar.step(next(done), ""))
    print(render(matrix, museum, room=columns()))
    print()
    paragraph("● the law is about this fault and fails, so that it catches the wrong version; ○ another law that catches it; · the "
              "law holds for it; ! the law is about this fault and holds on so few examples: --examples 40 draws more.")
    survivors = [name for name, row in matrix.items() if not any(row.values())]
    paragraph(f"wrong versions: {len(matrix)}; caught by no law: {', '.join(survivors) or 'none'}")
    return 1 if survivors else 0
