"""tinyattn show NAME: prints everything that the catalog knows about a mechanism."""

from __future__ import annotations

import argparse
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from tinyattn.catalog import find
from tinyattn.catalog.graph import neighbours
from tinyattn.cli.terminal import paragraph
from tinyattn.ops.masks import picture


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("name", help="a mechanism, by any of its names")


def parts(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Returns a function and the functions of its file that it calls, also those that these call.

    >>> from tinyattn.definitions import lsh_attention
    >>> [part.__name__ for part in parts(inspect.unwrap(lsh_attention))]
    ['lsh_attention', 'one_hash', 'rows_at', 'with_chunk_before']
    """
    file, found, codes = inspect.getmodule(function), [function], [function.__code__]
    while codes:
        code = codes.pop(0)
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
        for name in code.co_names:
            called = inspect.unwrap(getattr(file, name, len))
            if inspect.isfunction(called) and inspect.getmodule(called) is file and called not in found:
                found.append(called)
                codes.append(called.__code__)
    return found


def run(given: argparse.Namespace) -> int:
    """Prints a mechanism's definition and its row of the catalog."""
    row = find(given.name)
    paragraph(f"{row.name}: {row.says}")
    print()
    source = inspect.unwrap(row.definition)
    facts = {"kind": [row.kind], "time": [f"grows with {row.cost}; i queries, j keys, widths d and e of keys and values"],
             "cache": [f"{row.cache_formula}{' (bytes)' if row.cache_bytes else ''}"],
             "signature": [getattr(row.definition, "signature", "")], "file": [inspect.getsourcefile(source)],
             "kernel": [f"tinyattn.kernels.{row.kernel}"] if row.kernel else [], "paper": row.papers,
             "also called": [", ".join(row.aliases)] if row.aliases else [],
             "forms": [", ".join(row.forms)] if row.forms else [], "input": row.inputs}
    for name, values in facts.items():
        for value in values:
            paragraph(f"{name:<13}{value}", hanging=" " * 13)
    if row.pattern is not None:
        print(f"\nwhich query sees which key, of 16 tokens: {row.pattern}\n")
        print(textwrap.indent(picture.text(row.pattern.dense(16, 16).reshape(-1, 16, 16)[0]), "    "))
    print("\ndefinition\n")
    print(textwrap.indent("\n\n\n".join(inspect.getsource(part).rstrip() for part in parts(source)), "    "))
    print("\nlaws\n")
    for law in row.laws:
        paragraph(f"{law.name}: {law.says}", indent="    ", hanging="    ")
    print("\nneighbours\n")
    found = neighbours(row.name)
    tied = dict.fromkeys(edge.to if edge.mechanism == row.name else edge.mechanism for edge in found)
    paragraph(", ".join(tied) or "No law ties it to another mechanism.", indent="    ", hanging="    ")
    if found:
        paragraph(f"tinyattn equivalences {row.name} prints the laws between them.", indent="    ", hanging="    ")
    return 0
