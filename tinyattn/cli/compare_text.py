"""What tinyattn compare measures of each mechanism on text."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tinyattn.catalog.row import Row
from tinyattn.cli.compare_table import print_text
from tinyattn.cli.plan import Job, Line, Plan
from tinyattn.cli.trained import created, decoding, stepping, trained
from tinyattn.models import evaluate
from tinyattn.models import text as texts
from tinyattn.models.config import DecoderConfig
from tinyattn.models.generate import generate
from tinyattn.ops.types import Array

# Windows of held text on which bits are measured.
WINDOWS = 64
# Bytes behind which decoding is timed, whatever the context: behind a few dozen a cache saves little.
BEHIND = 1024
CACHED, UNCACHED = 64, 8
SAMPLE, TEMPERATURE = 160, 0.8
# Passes that the gap takes: one as it is, five in float64, which take twice as long.
GAP_PASSES = 11


def text_plan(rows: list[Row], config: DecoderConfig, training: Array, held: Array, given: argparse.Namespace,
              settings: dict[str, Any], title: str) -> Plan:
    """Returns the plan: each mechanism trained once and measured."""
    jobs = [Job(row.name, stepping(row, config, training, given), given.steps, partial(rest, row, config, held, given),
                partial(measured, row, config, training, held, given)) for row in rows]
    settings = {**settings, "behind": len(long_prompt(held, config)), "temperature": TEMPERATURE,
                "prompt": short_prompt(held, config).decode("utf-8", "replace")}
    return Plan(settings, title, config, given.batch, jobs, print_text)


def long_prompt(held: Array, config: DecoderConfig) -> bytes:
    """Returns the text behind which decoding is timed."""
    return held[: max(BEHIND, config.context)].tobytes()


def short_prompt(held: Array, config: DecoderConfig) -> bytes:
    """Returns the text behind which a sample is written: a paragraph's first lines, as many as fit in a quarter of a context.

    A paragraph begins with a word at the margin, behind an empty line. Where there is none, a line does that begins at the
    margin, or the text itself; a line that does not fit is cut.
    """
    text = held.tobytes()
    begun = re.search(rb"\n\r?\n(?=\w)", text) or re.search(rb"\n(?=\S)", text)
    start = begun.end() if begun else 0
    cut = text[start : start + max(config.context // 4, 1)]
    return cut[: cut.rfind(b"\n") + 1] or cut


def measured(row: Row, config: DecoderConfig, training: Array, held: Array, given: argparse.Namespace) -> Iterator[Line]:
    """Yields one mechanism's line of the report."""
    if row.cache is None or row.cache_bytes is None:
        raise ValueError(f"{row.name}: is no causal token mixer")
    decoder, losses, seconds = trained(row, config, training, given)
    inputs, targets = texts.windows(held, context=config.context, limit=WINDOWS)
    long, short = long_prompt(held, config), short_prompt(held, config)
    sample = bytes(generate(decoder, short, min(SAMPLE, config.context - len(short)), np.random.default_rng([given.seed, 2]),
                            temperature=TEMPERATURE, cache=row.cache))
    sizes = (len(long), config.kv_heads, config.head_dim, config.head_dim, 4)
    yield {
        "mechanism": row.name,
        "bits_per_byte": evaluate.bits_per_byte(decoder, inputs, targets),
        "train_tokens_per_s": given.batch * config.context / float(np.median(seconds)),
        "decode_cached_tokens_per_s": decoding(decoder, long, CACHED, row.cache),
        "decode_uncached_tokens_per_s": decoding(decoder, long, UNCACHED, None),
        "cache_bytes_per_token": config.layers * row.cache_bytes(*sizes) / len(long),
        "gap_budgets": evaluate.gap_in_budgets(decoder, inputs[:1], row.cache, np.random.default_rng(given.seed)),
        "sample": sample.decode("utf-8", "replace"),
        "losses": losses,
    }


def rest(row: Row, config: DecoderConfig, held: Array, given: argparse.Namespace) -> float:
    """Returns the seconds that what follows training will take, from a little of each part of it."""
    decoder, long = created(row, config, given), long_prompt(held, config)
    inputs, targets = texts.windows(held, context=config.context, limit=8)
    started = time.perf_counter()
    evaluate.bits_per_byte(decoder, inputs, targets)
    window = (time.perf_counter() - started) / len(inputs)
    started = time.perf_counter()
    cached = 1.0 / decoding(decoder, long, 4, row.cache)
    reading = time.perf_counter() - started
    uncached = 1.0 / decoding(decoder, long, 2, None)
    return (WINDOWS + GAP_PASSES) * window + reading + (CACHED + SAMPLE + config.context) * cached + UNCACHED * uncached
