"""tinyattn compare --caches: the same trained model, decoded through every cache that it can be decoded through."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from tinyattn.caches.rows import release
from tinyattn.catalog.row import Row
from tinyattn.cli.cache_names import Make, caches_of
from tinyattn.cli.compare_table import measure, print_columns, print_legend
from tinyattn.cli.names import every
from tinyattn.cli.plan import Job, Line, Plan
from tinyattn.cli.terminal import progress
from tinyattn.cli.trained import created, decoding, stepping, trained
from tinyattn.models import evaluate
from tinyattn.models import text as texts
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.ops.loss import cross_entropy
from tinyattn.ops.types import Array

LEGEND = {
    "exact": "whether the cache loses nothing; window: nothing within its window",
    "bytes": "held by the caches of all layers after a whole context",
    "B/token": "the same per byte of text",
    "write/s": "bytes per second behind half a context",
    "gap": "largest error of the logits; up to 1 is rounding alone",
    "bits": "bits per byte of held text, of which half a context was read at once",
    "lost": "the bits above those of the same model without a cache",
}
WINDOWS = 4


def chosen(rows: Sequence[Row], names: str, length: int) -> list[tuple[Row, dict[str, Make]]]:
    """Returns each mechanism with its caches of these names, or 'all'; ValueError for a name that no mechanism has."""
    known = [(row, caches_of(row, length)) for row in rows]
    wanted = every(names, dict.fromkeys(name for _, caches in known for name in caches), "cache", "--caches")
    return [(row, {name: caches[name] for name in wanted if name in caches}) for row, caches in known]


def caches_plan(rows: Sequence[Row], config: DecoderConfig, training: Array, held: Array, given: argparse.Namespace,
                settings: dict[str, Any], title: str) -> Plan:
    """Returns the plan: every mechanism trained once, and decoded through each of its caches of these names."""
    jobs = [Job(row.name, stepping(row, config, training, given), given.steps, partial(rest, row, caches, config, held, given),
                partial(measured, row, caches, config, training, held, given))
            for row, caches in chosen(rows, given.caches, config.context) if caches]
    return Plan(settings, title, config, given.batch, jobs, print_caches)


def measured(row: Row, caches: Mapping[str, Make], config: DecoderConfig, training: Array, held: Array,
             given: argparse.Namespace) -> Iterator[Line]:
    """Yields a line of the report for each cache of one mechanism."""
    decoder, _, _ = trained(row, config, training, given)
    inputs, targets = texts.windows(held, context=config.context, limit=WINDOWS)
    with progress(f"{row.name} decodes", len(caches)) as bar:
        for done, line in enumerate(through(decoder, caches, inputs, targets, seed=given.seed), 1):
            bar.step(done, line["cache"])
            yield {"mechanism": row.name, **line}


def rest(row: Row, caches: Mapping[str, Make], config: DecoderConfig, held: Array, given: argparse.Namespace) -> float:
    """Returns the seconds that decoding through all of the caches will take, from a few tokens through each."""
    prompt = held[: max(config.context // 2, 1)].tobytes()
    decoder, tokens = created(row, config, given), (WINDOWS + 1) * (config.context - len(prompt))
    return sum(tokens / decoding(decoder, prompt, min(4, config.context - len(prompt)), make) for make in caches.values())


def through(decoder: Decoder, caches: Mapping[str, Make], inputs: Array, targets: Array, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yields what reading half of each text (count, context) and decoding the rest through a cache costs and loses, for each.

    Bits are against those of the full computation on the same texts, the gap is the largest of the first one.
    """
    whole = evaluate.bits_per_byte(decoder, inputs, targets)
    full, budget = evaluate.logits_and_budget(decoder, inputs[:1], np.random.default_rng(seed))
    context = inputs.shape[1]
    prompt = inputs[0, : context // 2].astype(np.uint8).tobytes()
    for name, make in caches.items():
        logits, exact, nbytes = [], True, 0
        for text in inputs:
            made = [make() for _ in decoder.blocks]
            logits.append(evaluate.cached_logits(decoder, text[None], made, prompt=len(prompt)))
            exact, nbytes = made[0].exact, sum(cache.nbytes for cache in made)
            release(made)
        bits = float(cross_entropy(np.concatenate(logits), targets)) / math.log(2.0)
        yield {"cache": name, "exact": exact, "bytes": nbytes, "bytes_per_token": nbytes / context,
               "tokens_per_s": decoding(decoder, prompt, context - len(prompt), make),
               "gap_budgets": float((np.abs(logits[0] - full) / budget).max()), "bits_per_byte": bits, "bits_lost": bits - whole}


def said(line: dict[str, Any]) -> str:
    """Returns what a cache says of itself; a ring is exact for a model that was trained with its window."""
    return "no" if not line["exact"] else "window" if line["cache"].startswith("ring") else "yes"


def print_caches(report: dict[str, Any]) -> None:
    """Prints what was measured: under each mechanism its caches."""
    rows: list[list[str]] = []
    for name, lines in groupby(report["rows"], key=lambda line: line["mechanism"]):
        rows.append([name])
        rows += [[f"  {line['cache']}", said(line), f"{line['bytes']:,}", f"{line['bytes_per_token']:,.0f}",
                  f"{line['tokens_per_s']:,.0f}", measure(line["gap_budgets"]), f"{line['bits_per_byte']:.3f}",
                  f"{line['bits_lost']:+.4f}"] for line in lines]
    print_columns(["  cache", *LEGEND], rows)
    print_legend(LEGEND)
    print("\nCaches that forget (ring, heavy, snapkv) hold a quarter of the context.")
