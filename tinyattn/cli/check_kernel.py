"""tinyattn check module:function: judges a kernel of somebody else."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyattn.cli.ends import silence
from tinyattn.cli.outputs import check_outputs, write_json
from tinyattn.testing.conform import conform
from tinyattn.testing.conform.command import program
from tinyattn.testing.conform.dialect import PRESETS, known_word
from tinyattn.testing.conform.target import target_of


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a kernel that is judged."""
    group = parser.add_argument_group("with module:function or --command")
    group.add_argument("--command", metavar="LINE", help="a program instead of a function: './kernel {in} {out}'", dest="program")
    group.add_argument("--arrays", default="numpy", metavar="LIBRARY", help="its arrays: numpy, torch, jax, mlx, ... (default numpy)")
    group.add_argument("--like", default="attention", metavar="NAME", help="the mechanism it computes (default attention)")
    group.add_argument("--dialect", metavar="WORDS", help="what differs from tinyattn, as question=word,question=word")
    group.add_argument("--as", metavar="PRESET", dest="preset", help=f"the dialect of a library: {', '.join(PRESETS)}")
    group.add_argument("--supports", metavar="OPTIONS",
                       help="the options that it takes, such as causal,window; without this, all are tried")
    group.add_argument("--dtype", default="float32", metavar="DTYPE", help="float32, float64, float16 or bfloat16 (default float32)")
    group.add_argument("--inside", metavar="CLASS", help="what it may round inside: float32 (nothing), weights, all or tf32")
    group.add_argument("--known", metavar="FILE", help="a JSON file with the questions that are known to fail, each with a link")
    group.add_argument("--seconds", type=float, default=60.0, metavar="S", help="seconds that the run may take (default 60)")
    group.add_argument("--isolate", action="store_true", help="run it in a child process, so that a crash is one finding")
    group.add_argument("--json", metavar="FILE", help="write the report as JSON")


def run(given: argparse.Namespace) -> int:
    """Judges a kernel and prints the report; 0 if it conforms, 1 otherwise."""
    check_outputs(json=given.json)
    fn: Callable[..., Any] = program(given.program, time.monotonic() + given.seconds) if given.program else target_of(given.name)
    report = conform(fn, arrays=given.arrays, dialect=dialect_from(given.preset, given.dialect), like=given.like,
                     supports=given.supports.split(",") if given.supports else None, dtype=given.dtype, inside=given.inside,
                     known=known_of(given.known), seconds=given.seconds, seed=given.seed, isolate=given.isolate)
    if given.json:
        write_json(report.as_dict(), given.json)
    try:
        print(report, flush=True)
    except BrokenPipeError:  # a reader that stops early, as head does, does not change the exit code
        silence(sys.stdout)
    return 0 if report.verdict == "CONFORMS" else 1


def dialect_from(preset: str | None, words: str | None) -> dict[str, str]:
    """Returns a dialect: that of a preset, changed by words."""
    named = {} if preset is None else PRESETS[known_word("--as", preset, PRESETS)]
    return named | ({} if words is None else words_of(words))


def words_of(text: str) -> dict[str, str]:
    """Returns the words of a dialect from question=word,question=word.

    >>> words_of("causal=top-left,empty=mean")
    {'causal': 'top-left', 'empty': 'mean'}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    for question, equals, word in pairs:
        if not (question and equals and word):
            raise ValueError(f"--dialect: expected question=word,question=word, as in causal=top-left, got {text!r}")
    return {question: word for question, _, word in pairs}


def known_of(file: str | None) -> dict[str, str] | None:
    """Returns the known failures of a JSON file."""
    if file is None:
        return None
    try:
        found = json.loads(Path(file).read_text())
    except OSError as error:
        raise ValueError(f"--known: {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"--known: {file} is not JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(link, str) for link in found.values()):
        raise ValueError(f'--known: expected an object of questions and links in {file}, as {{"window": "https://..."}}')
    return found
