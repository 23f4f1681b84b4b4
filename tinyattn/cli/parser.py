"""The parser of the command line: its errors are one line, and names match in upper or lower case."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from tinyattn.cli.ends import REFUSED, say
from tinyattn.cli.names import canonical

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Prints the help; unlike argparse, it raises OSError if the help cannot be written."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong in one line and exits with code 2."""
        say(f"{self.prog}: {message}; see {self.prog} --help")
        self.exit(REFUSED)


def parsed(arguments: Sequence[str], commands: Mapping[str, str]) -> argparse.Namespace:
    """Returns the command and its options; no other command's file is imported.

    Raises:
        ValueError: an unknown command. SystemExit: refused options (code 2) and --help (code 0).
    """
    parser = Parser(prog="tinyattn", description="Attention mechanisms in NumPy: read, compare and test them.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    places = parser.add_subparsers(dest="command", metavar="COMMAND")
    first = canonical(arguments[0], commands, "command") if arguments and not arguments[0].startswith("-") else None
    for name, says in commands.items():
        command = places.add_parser(name, help=says, description=says)
        if name == first:
            importlib.import_module(f"tinyattn.cli.{name}").options(command)
    given, unknown = parser.parse_known_args([*([] if first is None else [first]), *arguments[first is not None :]])
    if unknown:  # argparse would name the help of all commands
        (places.choices[first] if first else parser).error(f"unknown arguments: {' '.join(unknown)}")
    for name, value in vars(given).items():
        if value == "" and name != "prompt":  # an empty prompt is refused by its command
            places.choices[given.command].error(f"{name}: expected at least one character, got none")
    if given.command is None and not given.version:
        parser.print_help()
    return given


def arguments_of(given: argparse.Namespace, *positional: str) -> list[str]:
    """Returns the arguments of a command that has these options.

    >>> arguments_of(argparse.Namespace(command="time", version=False, what="train", kv_heads=2, json=None), "what")
    ['time', 'train', '--kv-heads=2']
    """
    options = {name: value for name, value in vars(given).items() if name not in ("command", "version", *positional)}
    return [given.command, *(getattr(given, name) for name in positional),
            *(f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None)]
