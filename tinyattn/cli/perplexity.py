"""tinyattn perplexity FILE TEXT: nats per token of a model as it is, and with another window, cache or positions."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean

from tinyattn.caches.protocol import Cache
from tinyattn.catalog import find_mixer
from tinyattn.cli.cache_names import caches_of, named
from tinyattn.cli.outputs import check_outputs, write_json
from tinyattn.cli.real import opened_model, said, text_of
from tinyattn.cli.terminal import integer, positive, progress, table
from tinyattn.models import Model
from tinyattn.models.pretrained.compared import Token, compared, extended, windowed

KINDS = ("yarn", "ntk", "linear", "dual-chunk")


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("file", metavar="FILE", help="a GGUF file, a folder with config.json, or a model written by tinyattn train")
    parser.add_argument("text", metavar="TEXT", help="the text; @FILE reads it")
    parser.add_argument("--window", type=positive, metavar="N",
                        help="every token sees at most N tokens: the first ones of the text, and the last ones")
    parser.add_argument("--first", type=lambda text: integer(text, 0), metavar="N", help="how many of these come first (default 4)")
    parser.add_argument("--cache", metavar="NAME", help="decode through this cache, such as int8")
    parser.add_argument("--positions", metavar="KIND", help="yarn:2, ntk:2, linear:2 (scaled for twice the length) or dual-chunk")
    parser.add_argument("--json", metavar="FILE", help="write the numbers of every token")


def run(given: argparse.Namespace) -> int:
    """Prints the table."""
    check_outputs(json=given.json)
    if given.first is not None and given.window is None:
        raise ValueError("--first: says how many tokens of --window are the first ones; give --window too")
    if given.cache is not None and given.window is not None:
        raise ValueError("--cache: --window was given too, which a cache would not see; leave one of them out")
    if given.cache is not None and (given.positions or "").startswith("dual-chunk"):
        raise ValueError("--cache: dual-chunk is a mechanism, which a cache would replace; leave one of them out")
    text, model = text_of(given.text, "TEXT"), opened_model(given.file)
    tokens = model.tokens(text)[0]
    changed, cache = changed_by(model, given, len(tokens))
    found: list[Token] = []
    with said(), progress("tokens", max(len(tokens) - 1, 1)) as bar:
        for token in compared(model, changed, tokens, cache=cache):
            found.append(token)
            bar.step(len(found), "")
    told(found, alone=changed is model and cache is None)
    if given.json is not None:
        write_json([token._asdict() for token in found], given.json)
    return 0


def changed_by(model: Model, given: argparse.Namespace, length: int) -> tuple[Model, Callable[[], Cache] | None]:
    """Returns the model with what the options change, and its cache; ValueError for a change of attention in a model without it."""
    changed = model
    for option in ("window", "positions", "cache"):
        if getattr(given, option) is not None:
            try:
                model.attention(0)
            except ValueError as error:
                raise ValueError(f"--{option}: {str(error).removeprefix('layer: ')}") from None
    if given.positions is not None:
        changed = extended(changed, *kind_of(given.positions))
    if given.window is not None:
        if (given.positions or "").startswith("dual-chunk"):
            raise ValueError("--window: dual-chunk is a mechanism of its own; leave one of them out")
        changed = windowed(changed, given.window, 4 if given.first is None else given.first)
    cache = None if given.cache is None else named(given.cache, caches_of(find_mixer("attention"), length))
    return changed, cache


def kind_of(text: str) -> tuple[str, float]:
    """Returns the kind and the factor of positions such as yarn:2.

    >>> kind_of("yarn:2"), kind_of("dual-chunk")
    (('yarn', 2.0), ('dual-chunk', 1.0))
    """
    kind, colon, number = text.strip().lower().replace("_", "-").partition(":")
    try:
        factor = float(number) if colon else 1.0
    except ValueError:
        factor = math.nan
    if kind not in KINDS or not 1.0 <= factor < math.inf or (colon == "") != (kind == "dual-chunk"):
        raise ValueError(f"--positions: expected yarn:2, ntk:2, linear:2 or dual-chunk, with a factor of 1 or more, got {text!r:.60}")
    return kind, factor


def told(found: Sequence[Token], *, alone: bool) -> None:
    """Prints the means over all tokens and over ranges of positions, each twice as long as the one before.

    `alone` leaves out what compares the model with a changed one.
    """
    edges = [0, *(edge for edge in (64 << n for n in range(24)) if edge < len(found)), len(found)]
    rows = [row_of(f"{start} to {stop - 1}", found[start:stop], alone=alone) for start, stop in pairwise(edges)]
    header = ["positions", "nats per token"] if alone else ["positions", "as it is", "changed", "KL", "same best token"]
    table(header, [*rows, row_of("all", found, alone=alone)])


def row_of(name: str, part: Sequence[Token], *, alone: bool) -> list[str]:
    """Returns a row of the table."""
    plain, changed, divergence, agrees = map(fmean, zip(*part, strict=True))
    others = [] if alone else [f"{changed:.4f}", f"{divergence:.2e}", f"{100 * agrees:.1f} %"]
    return [name, f"{plain:.4f}", *others]
