"""tinyattn list: prints the mechanisms, one line each."""

from __future__ import annotations

import argparse

from tinyattn.catalog import ROWS
from tinyattn.cli.terminal import paragraph, table


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""


def run(given: argparse.Namespace) -> int:
    """Prints the mechanisms."""
    table(["mechanism", "kind", "year", "laws", "kernel", "mixer"],
          [[row.name, row.kind, str(row.papers[0].year), str(len(row.laws)),
            *("yes" if has else "no" for has in (row.kernel, row.mixer))] for row in ROWS])
    print()
    paragraph("kind: whether the mechanism is exact or approximates another one. kernel: whether tinyattn.kernels has a fast form of "
              "it. mixer: whether tinyattn compare --mechanisms NAME can train a decoder with it. tinyattn show NAME prints its "
              "definition and its laws.")
    print()
    for row in ROWS:
        paragraph(f"{row.name}: {row.says}", hanging="    ")
    return 0
