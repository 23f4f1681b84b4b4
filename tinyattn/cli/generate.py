"""tinyattn generate FILE: a prompt continued by a saved model."""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np

from tinyattn.catalog import find
from tinyattn.cli.cache_names import caches_of, named
from tinyattn.cli.terminal import positive, seed
from tinyattn.models import checkpoint
from tinyattn.models.generate import generate

OWN = "own"


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("file", metavar="FILE", help="a model written by tinyattn train")
    parser.add_argument("--prompt", default="def ", metavar="TEXT", help="default: 'def '")
    parser.add_argument("--tokens", type=positive, default=200, metavar="N", help="bytes to write (default 200)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 is greedy (default 0.8)")
    parser.add_argument("--top-k", type=positive, metavar="K", help="choose among the K likeliest")
    parser.add_argument("--top-p", type=float, metavar="P", help="choose among the fewest that reach P")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default 0")
    parser.add_argument("--cache", nargs="?", const=OWN, default=OWN, metavar="NAME",
                        help="decode through this cache (default: the mechanism's own)")
    parser.add_argument("--no-cache", dest="cache", action="store_const", const=None, help="compute every byte from the whole text")


def run(given: argparse.Namespace) -> int:
    """Writes the prompt and its continuation."""
    if not os.path.exists(given.file):
        raise ValueError(f"{given.file}: does not exist; make it with tinyattn train --out {given.file}")
    decoder, _, name, _ = checkpoint.load(given.file, mixing=lambda name: find(name).mixing)
    raw = sys.stdout.buffer if hasattr(sys.stdout, "buffer") else None
    pieces = [given.prompt.encode()]
    known = caches_of(find(name), len(pieces[0]) + given.tokens)
    cache = None if given.cache is None else next(iter(known.values())) if given.cache == OWN else named(given.cache, known)
    for token in generate(decoder, pieces[0], given.tokens, np.random.default_rng(given.seed), cache=cache,
                          temperature=given.temperature, top_k=given.top_k, top_p=given.top_p):
        pieces.append(bytes([token]))
    text = b"".join(pieces)
    if raw is None:
        print(text.decode("utf-8", "replace"))
    else:
        sys.stdout.flush()
        raw.write(text + b"\n")
    return 0
