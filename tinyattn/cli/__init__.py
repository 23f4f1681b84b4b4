"""The command line: one file a command."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "compare": "train one small model with each mechanism on real text and compare them",
    "train": "train a model and save it",
    "generate": "continue a prompt with a saved model",
    "list": "the mechanisms",
    "show": "a mechanism's definition, formula, shapes, papers and laws",
    "check": "run a mechanism's laws",
    "museum": "wrong attentions, and which law kills which",
    "picture": "draw a mask, in text or as SVG",
    "equivalences": "which mechanism is which, and by what law",
    "time": "measure: a training step, a decoding step, the definition, the kernels, the import",
    "cost": "what a cache holds and a decoding step reads, for a shape or for well-known models",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 a law failed, 2 bad input, 130 interrupted."""
    arguments = [*(sys.argv[1:] if argv is None else argv)]
    parser = argparse.ArgumentParser(prog="tinyattn", description="Attention: definitions, kernels, laws.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, says in COMMANDS.items():
        command = commands.add_parser(name, help=says, description=says)
        if arguments and arguments[0] == name:  # the others' options need not be known, nor their modules imported
            importlib.import_module(f"tinyattn.cli.{name}").options(command)
    try:
        given = parser.parse_args(arguments)
    except SystemExit as done:
        return int(done.code or 0)
    if given.version:
        from tinyattn import __version__
        print(__version__)
        return 0
    if given.command is None:
        parser.print_help()
        return 0
    try:
        code: int = importlib.import_module(f"tinyattn.cli.{given.command}").run(given)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        print(f"tinyattn {given.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
