"""The comparison on text: what is measured of each mechanism, and how it is printed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinyattn.catalog import find_mixer
from tinyattn.catalog.row import Row
from tinyattn.cli.comparing.decoders import Task, decoding
from tinyattn.cli.comparing.plan import Job, Plan, Report
from tinyattn.cli.comparing.table import WIDTH, budgets, print_table
from tinyattn.cli.outputs import Line
from tinyattn.cli.training import Trained
from tinyattn.models import evaluate
from tinyattn.models.config import DecoderConfig
from tinyattn.models.generate import generate
from tinyattn.ops.types import Array

# Windows of held text on which bits are measured.
WINDOWS = 64
# Bytes after which decoding is timed, whatever the context: after a few dozen a cache saves little.
BEHIND = 1024
CACHED, UNCACHED = 64, 8
SAMPLE, TEMPERATURE = 160, 0.8
# The gap takes one pass in float32 and five in float64, each of which takes twice as long.
GAP_PASSES = 11
# Lines of a sample that are printed; the report has all of it.
SHOWN = 6
LEGEND = {
    "bits": "bits per byte of held-out text; a good model needs fewer than (bigram)",
    "train/s": "bytes per second in training",
    "write/s": "bytes per second in writing through a cache, after {behind:,} bytes",
    "full/s": "the same without a cache: all of the text is read again for each byte",
    "B/token": "bytes that the caches of all layers hold, per byte of that text",
    "gap": "largest error of the cached logits; up to 1 is rounding alone",
}


def text_plan(names: Sequence[str], task: Task, settings: dict[str, Any], title: str) -> Plan:
    """Returns the plan: each mechanism is trained once and measured."""
    jobs = [Job.of(task.training(row), partial(rest, row, task), partial(measured, row, task)) for row in map(find_mixer, names)]
    settings = {**settings, "behind": len(long_prompt(task.held, task.config)), "temperature": TEMPERATURE,
                "prompt": short_prompt(task.held, task.config).decode("utf-8", "replace")}
    return Plan(settings, title, task.config, task.given.batch, jobs, print_text, partial(text_plan, names, task, settings, title))


def long_prompt(held: Array, config: DecoderConfig) -> bytes:
    """Returns the text after which decoding is timed."""
    return held[: max(BEHIND, config.context)].tobytes()


def short_prompt(held: Array, config: DecoderConfig) -> bytes:
    """Returns the text that a sample continues: the first lines of a paragraph, as many as fit in a quarter of the context.

    A paragraph begins behind an empty line, with a letter at the margin. A text without one is read from its first line at
    the margin, or else from its beginning. A first line that does not fit is cut.
    """
    text = held.tobytes()
    begun = re.search(rb"\n\r?\n(?=\w)", text) or re.search(rb"\n(?=\S)", text)
    start = begun.end() if begun else 0
    cut = text[start : start + max(config.context // 4, 1)]
    return cut[: cut.rfind(b"\n") + 1] or cut


def measured(row: Row, task: Task, trained: Trained) -> Iterator[Line]:
    """Yields the one row of a mechanism."""
    if row.cache is None or row.cache_bytes is None:
        raise ValueError(f"{row.name}: is not a causal token mixer")
    config, given, decoder = task.config, task.given, trained.last.model
    inputs, targets = task.windows(WINDOWS)
    long, short = long_prompt(task.held, config), short_prompt(task.held, config)
    sample = bytes(generate(decoder, short, min(SAMPLE, config.context - len(short)), np.random.default_rng([given.seed, 2]),
                            temperature=TEMPERATURE, cache=row.cache))
    sizes = (len(long), config.kv_heads, config.head_dim, config.head_dim, 4)
    yield {
        "mechanism": row.name,
        "bits_per_byte": evaluate.bits_per_byte(decoder, inputs, targets),
        "train_tokens_per_s": given.batch * config.context / float(np.median(trained.seconds)),
        "decode_cached_tokens_per_s": decoding(decoder, long, CACHED, row.cache),
        "decode_uncached_tokens_per_s": decoding(decoder, long, UNCACHED, None),
        "cache_bytes_per_token": config.layers * row.cache_bytes(*sizes, heads=config.heads) / len(long),
        "gap_budgets": evaluate.gap_in_budgets(decoder, inputs[:1], row.cache, np.random.default_rng(given.seed)),
        "sample": sample.decode("utf-8", "replace"),
        "losses": trained.losses,
    }


def rest(row: Row, task: Task) -> float:
    """Returns the seconds that everything after the training will take, measured on a little of each part."""
    decoder, long = task.created(row), long_prompt(task.held, task.config)
    inputs, targets = task.windows(8)
    started = time.perf_counter()
    evaluate.bits_per_byte(decoder, inputs, targets)
    window = (time.perf_counter() - started) / len(inputs)
    started = time.perf_counter()
    cached = 1.0 / decoding(decoder, long, 4, row.cache)
    reading = time.perf_counter() - started
    uncached = 1.0 / decoding(decoder, long, 2, None)
    return (WINDOWS + GAP_PASSES) * window + reading + (CACHED + SAMPLE + task.config.context) * cached + UNCACHED * uncached


def print_text(report: Report) -> None:
    """Prints what was measured on text, and what each model wrote."""
    settings = report["settings"]
    rows = [[line["mechanism"], f"{line['bits_per_byte']:.3f}", f"{line['train_tokens_per_s']:,.0f}",
             f"{line['decode_cached_tokens_per_s']:,.0f}", f"{line['decode_uncached_tokens_per_s']:,.0f}",
             f"{line['cache_bytes_per_token']:,.0f}", budgets(line["gap_budgets"])] for line in report["rows"]]
    rows.append(["(bigram)", f"{settings['bigram_bits_per_byte']:.3f}", "", "", "", "", ""])
    print_table("mechanism", {name: says.format(behind=settings["behind"]) for name, says in LEGEND.items()}, rows)
    if report["rows"]:
        print(f"\nSamples at temperature {settings['temperature']}, seed {settings['seed']}, after this held-out text:")
        print_indented(settings["prompt"])
    for line in report["rows"]:
        print(f"\n{line['mechanism']} writes:")
        print_indented(line["sample"], SHOWN)


def print_indented(text: str, most: int | None = None) -> None:
    """Prints the first lines of a text, indented, without those that are blank."""
    for line in [line for line in printable_lines(text) if line.strip()][:most]:
        print(f"    {line}".rstrip())


def printable_lines(text: str) -> list[str]:
    r"""Returns the lines of a text, long ones cut into several, every character that is not printable ASCII as an escape.

    >>> printable_lines("a\tb\nc")
    ['a\\tb', 'c']
    """
    room, lines = WIDTH - 8, []
    for line in text.split("\n"):
        shown = "".join(sign if sign.isascii() and sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
        lines += [shown[start : start + room] for start in range(0, max(len(shown), 1), room)]
    return lines
