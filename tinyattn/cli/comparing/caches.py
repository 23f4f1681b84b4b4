"""The comparison of caches: the same trained model decodes through each cache that it can use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from tinyattn.caches.rows import release
from tinyattn.catalog import find_mixer
from tinyattn.catalog.row import Row
from tinyattn.cli.cache_names import Make, caches_of
from tinyattn.cli.comparing.decoders import Task, decoding
from tinyattn.cli.comparing.plan import Job, Plan, Report
from tinyattn.cli.comparing.table import budgets, print_table
from tinyattn.cli.names import every
from tinyattn.cli.outputs import Line
from tinyattn.cli.terminal import progress
from tinyattn.cli.training import Trained
from tinyattn.models import evaluate
from tinyattn.models.decoder import Decoder
from tinyattn.ops.loss import cross_entropy
from tinyattn.ops.types import Array

LEGEND = {
    "exact": "whether the cache loses nothing; window: nothing within its window",
    "bytes": "held by the caches of all layers at the end of a context",
    "B/token": "the same per byte of text",
    "write/s": "bytes per second after half a context",
    "gap": "largest error of the logits; up to 1 is rounding alone",
    "bits": "bits per byte of held-out text, half a context of which is read at once",
    "lost": "the bits above those of the same model without a cache",
}
WINDOWS = 4


def chosen(rows: Sequence[Row], names: str, length: int) -> list[tuple[Row, dict[str, Make]]]:
    """Returns each mechanism with those of its caches that are named, or 'all'; ValueError for a name that no mechanism has."""
    known = [(row, caches_of(row, length)) for row in rows]
    wanted = every(names, dict.fromkeys(name for _, caches in known for name in caches), "cache", "--caches")
    return [(row, {name: caches[name] for name in wanted if name in caches}) for row, caches in known]


def caches_plan(names: Sequence[str], task: Task, settings: dict[str, Any], title: str) -> Plan:
    """Returns the plan: each mechanism is trained once, and decodes through each of its caches that were asked for."""
    jobs = [Job.of(task.training(row), partial(rest, row, caches, task), partial(measured, row, caches, task))
            for row, caches in chosen([find_mixer(name) for name in names], task.given.caches, task.config.context) if caches]
    return Plan(settings, title, task.config, task.given.batch, jobs, print_caches, partial(caches_plan, names, task, settings, title))


def measured(row: Row, caches: Mapping[str, Make], task: Task, trained: Trained) -> Iterator[Line]:
    """Yields one row per cache of a mechanism."""
    inputs, targets = task.windows(WINDOWS)
    with progress(f"{row.name} decodes", len(caches)) as bar:
        for done, line in enumerate(through(trained.last.model, caches, inputs, targets, seed=task.given.seed), 1):
            bar.step(done, line["cache"])
            yield {"mechanism": row.name, **line}


def rest(row: Row, caches: Mapping[str, Make], task: Task) -> float:
    """Returns the seconds that decoding through all of the caches will take, from a few tokens through each."""
    context = task.config.context
    prompt = task.held[: max(context // 2, 1)].tobytes()
    decoder, tokens = task.created(row), (WINDOWS + 1) * (context - len(prompt))
    return sum(tokens / decoding(decoder, prompt, min(4, context - len(prompt)), make) for make in caches.values())


def through(decoder: Decoder, caches: Mapping[str, Make], inputs: Array, targets: Array, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yields per cache what it costs and loses to read half of each text (count, context) and decode the rest through it.

    Lost bits are those above the full computation on the same texts; the gap is the largest error on the first text.
    """
    full_bits = evaluate.bits_per_byte(decoder, inputs, targets)
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
               "gap_budgets": float((np.abs(logits[0] - full) / budget).max()), "bits_per_byte": bits, "bits_lost": bits - full_bits}


def said(line: dict[str, Any]) -> str:
    """Returns what a cache says of itself; a ring is exact only for a model that was trained with its window."""
    return "no" if not line["exact"] else "window" if line["cache"].startswith("ring") else "yes"


def print_caches(report: Report) -> None:
    """Prints what was measured, the caches of each mechanism below its name."""
    rows: list[list[str]] = []
    for name, lines in groupby(report["rows"], key=lambda line: line["mechanism"]):
        rows.append([name])
        rows += [[f"  {line['cache']}", said(line), f"{line['bytes']:,}", f"{line['bytes_per_token']:,.0f}",
                  f"{line['tokens_per_s']:,.0f}", budgets(line["gap_budgets"]), f"{line['bits_per_byte']:.3f}",
                  f"{round(line['bits_lost'], 4) + 0.0:+.4f}"] for line in lines]
    print_table("  cache", LEGEND, rows)
    print("\nCaches that forget (ring, heavy, snapkv) hold a quarter of the context.")
