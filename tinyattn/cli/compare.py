"""tinyattn compare: one small model, trained once with each mechanism, on real text or on images of digits."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn.catalog import ROWS, find
from tinyattn.catalog.row import Row
from tinyattn.cli import memory
from tinyattn.cli.compare_caches import compare_caches, print_caches
from tinyattn.cli.compare_digits import compare_digits, print_digits
from tinyattn.cli.terminal import positive, seed, table
from tinyattn.cli.trained import decoding, machine, trained
from tinyattn.models import evaluate
from tinyattn.models import text as texts
from tinyattn.models.config import DecoderConfig
from tinyattn.ops.files.atomic import check_writable, replacing
from tinyattn.ops.types import Array

HEADER = ["mechanism", "bits/byte", "train tok/s", "decode tok/s", "no cache", "cache B/tok", "gap/budget"]
SAMPLE = 60


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--task", choices=("text", "digits"), default="text",
                        help="bytes of text, or scikit-learn's 8 x 8 digits (needs the extra data); default text")
    parser.add_argument("--mechanisms", metavar="A,B",
                        help="names with commas between, or 'all'; default: attention,linear_attention, of digits all")
    parser.add_argument("--caches", metavar="A,B", help="decode each trained model through these caches and compare them; or 'all'")
    parser.add_argument("--steps", type=positive, default=300, metavar="N", help="training steps (default 300)")
    parser.add_argument("--context", type=positive, metavar="N", help="bytes a sequence (default 256)")
    parser.add_argument("--batch", type=positive, metavar="N", help="sequences a step (default 8), or images (default 32)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of weights and batches (default 0)")
    parser.add_argument("--text", metavar="FILE", help="a file, or 'shakespeare'; default: the standard library's source")
    parser.add_argument("--json", metavar="FILE", help="write everything measured")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the losses (needs matplotlib)")


def chosen(names: str) -> list[Row]:
    """Returns the rows to compare; ValueError for a name that is unknown or cannot mix tokens causally."""
    if names == "all":
        return [row for row in ROWS if row.mixer is not None]
    rows = [find(name.strip()) for name in names.split(",")]
    return [row for row in rows if row.mixing]


def run(given: argparse.Namespace) -> int:
    """Trains, measures, prints the table; what is done so far when interrupted."""
    for path in (given.json, given.plot):
        if path:
            check_writable(path)
    if given.plot and given.caches:
        raise ValueError("--plot: losses are drawn, and --caches compares what comes after training")
    if given.plot and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot: matplotlib is not installed; pip install 'tinyattn[plot]'")
    if given.task == "digits" and (given.caches or given.text or given.context):
        raise ValueError("--task digits: images have no caches and no text; leave --caches, --text and --context out")
    memory.keep()
    given.context = given.context or 256
    given.batch = given.batch or {"text": 8, "digits": 32}[given.task]
    settings, lines = compare_digits(given) if given.task == "digits" else compare_text(given)
    report: dict[str, Any] = {"settings": settings, "machine": machine(), "rows": []}
    code = 0
    try:
        for line in lines:
            report["rows"].append(line)
    except KeyboardInterrupt:
        code = 130
    (print_digits if given.task == "digits" else print_caches if given.caches else print_table)(report)
    if given.json:
        with replacing(given.json, "w") as file:
            json.dump(report, file, indent=1)
    if given.plot and report["rows"]:
        plot(report, given.plot)
    return code


def compare_text(given: argparse.Namespace) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Returns the settings, and the lines of the report as they are measured."""
    rows, config = chosen(given.mechanisms or "attention,linear_attention"), DecoderConfig(context=given.context)
    training, held = texts.split(texts.read_text(given.text), context=given.context)
    settings = {"steps": given.steps, "context": given.context, "batch": given.batch, "seed": given.seed,
                "text": given.text or "standard library", "parameters": config.parameters,
                "bigram_bits_per_byte": texts.bigram_bits_per_byte(training, held)}
    if given.caches:
        return settings, iter(compare_caches(rows, config, training, held, given))
    return settings, (measured(row, config, training, held, given) for row in rows)


def measured(row: Row, config: DecoderConfig, training: Array, held: Array, given: argparse.Namespace) -> dict[str, Any]:
    """Returns one mechanism's line of the report."""
    if row.mixer is None or row.cache is None or row.cache_bytes is None:
        raise ValueError(f"{row.name}: is no causal token mixer")
    decoder, losses, seconds = trained(row, config, training, given)
    inputs, targets = texts.windows(held, context=given.context, limit=64)
    prompt = held[: given.context // 2].tobytes()
    cached, sample = decoding(decoder, prompt, given.context - len(prompt), row.cache)
    uncached, _ = decoding(decoder, prompt, min(8, given.context - len(prompt)), None)
    sizes = (given.context, config.kv_heads, config.head_dim, config.head_dim, 4)
    return {
        "mechanism": row.name,
        "bits_per_byte": evaluate.bits_per_byte(decoder, inputs, targets),
        "train_tokens_per_s": given.batch * given.context / float(np.median(seconds)),
        "decode_cached_tokens_per_s": cached,
        "decode_uncached_tokens_per_s": uncached,
        "cache_bytes_per_token": config.layers * row.cache_bytes(*sizes) / given.context,
        "gap_budgets": evaluate.gap_in_budgets(decoder, inputs[:1], row.cache, np.random.default_rng(given.seed)),
        "sample": sample[:SAMPLE].decode("utf-8", "replace"),
        "losses": losses,
    }


def print_table(report: dict[str, Any]) -> None:
    """Prints what was measured."""
    settings = report["settings"]
    rows = [[line["mechanism"], f"{line['bits_per_byte']:.3f}", f"{line['train_tokens_per_s']:,.0f}",
             f"{line['decode_cached_tokens_per_s']:,.0f}", f"{line['decode_uncached_tokens_per_s']:,.0f}",
             f"{line['cache_bytes_per_token']:,.0f}", f"{line['gap_budgets']:.2f}"] for line in report["rows"]]
    rows.append(["(bigram)", f"{settings['bigram_bits_per_byte']:.3f}", "", "", "", "", ""])
    table(HEADER, rows, title=f"{settings['parameters']:,} parameters, {settings['steps']} steps of {settings['batch']} x "
                              f"{settings['context']} bytes of {settings['text']}, seed {settings['seed']}")
    for line in report["rows"]:
        print(f"\n{line['mechanism']} writes on: {line['sample']!r}")


def plot(report: dict[str, Any], path: str) -> None:
    """Draws the losses of all mechanisms."""
    from tinyattn.plot import losses
    figure = losses({line["mechanism"]: line["losses"] for line in report["rows"]}, bar=report["settings"].get("bigram_bits_per_byte"),
                    unit="byte" if "bigram_bits_per_byte" in report["settings"] else "digit")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)
