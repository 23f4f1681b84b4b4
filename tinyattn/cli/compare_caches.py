"""tinyattn compare --caches: the same trained model, decoded through every cache that it can be decoded through."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinyattn.catalog.row import Row
from tinyattn.cli.cache_names import Make, caches_of, named
from tinyattn.cli.terminal import progress, table
from tinyattn.cli.trained import decoding, trained
from tinyattn.models import evaluate
from tinyattn.models import text as texts
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import release
from tinyattn.ops.loss import cross_entropy
from tinyattn.ops.types import Array

HEADER = ["mechanism", "cache", "exact", "bytes", "B/token", "tokens/s", "gap/budget", "bits/byte", "bits lost"]
WINDOWS = 4


def chosen(rows: Sequence[Row], names: str, length: int) -> list[tuple[Row, dict[str, Make]]]:
    """Returns each mechanism with its caches of these names, or 'all'; ValueError for a name that no mechanism has."""
    known = [(row, caches_of(row, length)) for row in rows]
    if names == "all":
        return known
    wanted = [name.strip() for name in names.split(",")]
    every = {name: make for _, caches in known for name, make in caches.items()}
    for name in wanted:
        named(name, every)
    return [(row, {name: caches[name] for name in wanted if name in caches}) for row, caches in known]


def compare_caches(rows: Sequence[Row], config: DecoderConfig, training: Array, held: Array, given: argparse.Namespace,
                   ) -> Iterator[dict[str, Any]]:
    """Yields a line of the report for each mechanism and cache; every mechanism is trained once."""
    for row, caches in chosen(rows, given.caches, given.context):
        if caches:
            decoder, _, _ = trained(row, config, training, given)
            inputs, targets = texts.windows(held, context=given.context, limit=WINDOWS)
            with progress(f"{row.name} decodes", len(caches)) as bar:
                for done, line in enumerate(through(decoder, caches, inputs, targets, seed=given.seed), 1):
                    bar.step(done, line["cache"])
                    yield {"mechanism": row.name, **line}


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
               "tokens_per_s": decoding(decoder, prompt, context - len(prompt), make)[0],
               "gap_budgets": float((np.abs(logits[0] - full) / budget).max()), "bits_per_byte": bits, "bits_lost": bits - whole}


def said(line: dict[str, Any]) -> str:
    """Returns what a cache says of itself; a ring is exact for a model that was trained with its window."""
    return "no" if not line["exact"] else "in its window" if line["cache"].startswith("ring") else "yes"


def print_caches(report: dict[str, Any]) -> None:
    """Prints what was measured."""
    settings = report["settings"]
    table(HEADER, [[line["mechanism"], line["cache"], said(line), f"{line['bytes']:,}",
                    f"{line['bytes_per_token']:,.0f}", f"{line['tokens_per_s']:,.0f}", f"{line['gap_budgets']:,.2f}",
                    f"{line['bits_per_byte']:.3f}", f"{line['bits_lost']:+.4f}"] for line in report["rows"]],
          title=f"{settings['parameters']:,} parameters, {settings['steps']} steps of {settings['batch']} x {settings['context']} "
                f"bytes of {settings['text']}, seed {settings['seed']}; half a context read, the other half decoded byte by byte")
    print("\nexact: in what it says that it computes, which for a ring is attention to its window; gap: of the logits from those of "
          "the whole text,\nin units of the error that rounding alone may make; those that forget hold a quarter of the context")
