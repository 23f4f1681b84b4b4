"""tinyattn equivalences: prints which mechanisms are equal and by which law, or walks from one mechanism to another by laws."""

from __future__ import annotations

import argparse

from tinyattn.catalog.find import find
from tinyattn.catalog.graph import Edge, edges, markdown, neighbours, walk
from tinyattn.cli.outputs import check_outputs
from tinyattn.cli.terminal import paragraph
from tinyattn.ops.files.atomic import replacing


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("name", nargs="?", help="a mechanism, by any of its names: prints the laws that tie it to others")
    parser.add_argument("other", nargs="?", help="a second mechanism: prints the laws that lead from the first to it")
    parser.add_argument("--out", metavar="FILE.md", help="write the page of all laws, as docs/equivalences.md")


def run(given: argparse.Namespace) -> int:
    """Prints the graph of mechanisms as Markdown or writes it to a file, the laws of one, or a walk between two."""
    check_outputs(out=given.out)
    if given.name is not None:
        if given.out is not None:
            raise ValueError("--out: writes the page of all laws and takes no mechanism; leave out either")
        return tell(find(given.name).name, None if given.other is None else find(given.other).name)
    if given.out is None:
        print(markdown(), end="")
        return 0
    with replacing(given.out, "w") as file:
        file.write(markdown())
    print(f"{given.out}: {len(edges())} laws between mechanisms")
    return 0


def tell(name: str, other: str | None) -> int:
    """Prints the laws that tie a mechanism to others, or those that lead from it to another one."""
    if other is None:
        print_laws(name, neighbours(name))
    elif name == other:
        print(f"{name} and {other} are the same mechanism.")
    elif (found := walk(name, other)) is None:
        print(f"No laws lead from {name} to {other}.")
    else:
        here = name
        for step, edge in enumerate(found, 1):
            there = edge.to if edge.mechanism == here else edge.mechanism
            print(f"{step}. {here} -> {there}")
            print_law(edge)
            here = there
    return 0


def print_laws(name: str, found: tuple[Edge, ...]) -> None:
    """Prints the laws that tie a mechanism to others, each with the other mechanism."""
    if not found:
        print(f"No law ties {name} to another mechanism.")
    for edge in found:
        print(f"{name} - {edge.to if edge.mechanism == name else edge.mechanism}")
        print_law(edge)


def print_law(edge: Edge) -> None:
    """Prints what a law says, of which mechanism, and how exactly it holds."""
    paragraph(f"{edge.mechanism} ({edge.law.kind}): {edge.law.says}", indent="    ", hanging="    ")
