"""tinyattn generate FILE, or tinyattn run FILE: continues a prompt by a model."""

from __future__ import annotations

import argparse
import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from itertools import chain

import numpy as np

from tinyattn.catalog import find_mixer
from tinyattn.cli.cache_names import caches_of, named
from tinyattn.cli.ends import say
from tinyattn.cli.model_file import opened
from tinyattn.cli.real import is_real, opened_model, peak, said, text_of, written
from tinyattn.cli.terminal import positive, seed
from tinyattn.models import generate

OWN = "own"


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("file", metavar="FILE", help="a model written by tinyattn train, a GGUF file, or a folder with config.json")
    parser.add_argument("--prompt", default="def ", metavar="TEXT", help="text to continue (default: 'def '); @FILE reads it")
    parser.add_argument("--tokens", type=positive, default=200, metavar="N", help="bytes or tokens to write (default 200)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 takes the likeliest byte (default 0.8)")
    parser.add_argument("--top-k", type=positive, metavar="K", help="choose among the K likeliest bytes")
    parser.add_argument("--top-p", type=float, metavar="P", help="choose among the fewest bytes whose probabilities reach P")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of the choices (default 0)")
    parser.add_argument("--cache", nargs="?", const=OWN, metavar="NAME",
                        help="decode through this cache (default: the mechanism's own)")
    parser.add_argument("--chat", action="store_true", help="give the prompt as a message, by the chat template of the model")
    parser.add_argument("--no-cache", action="store_true", help="compute every byte from the whole text again")
    parser.epilog = ("The text is written as UTF-8. Control characters, and bytes that are not UTF-8, are written as their "
                     "number, such as \\x1b.")


def run(given: argparse.Namespace) -> int:
    """Writes the prompt and its continuation."""
    if given.no_cache and given.cache is not None:
        raise ValueError("--no-cache: --cache was given too; leave one of them out")
    if is_real(given.file):
        return stream(given)
    if given.chat:
        raise ValueError("--chat: this model has no chat template")
    saved = opened(given.file)
    prompt = os.fsencode(text_of(given.prompt, "--prompt") if given.prompt else "")
    known = caches_of(find_mixer(saved.mechanism), len(prompt) + given.tokens)
    own = next(iter(known.values()))
    cache = None if given.no_cache else own if given.cache in (None, OWN) else named(given.cache, known)
    continued = generate(saved.decoder, prompt, given.tokens, np.random.default_rng(given.seed), cache=cache,
                       temperature=given.temperature, top_k=given.top_k, top_p=given.top_p)
    text = readable(prompt + bytes(continued)) + "\n"
    if hasattr(sys.stdout, "buffer") and not sys.stdout.isatty():
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
    else:
        sys.stdout.write(text)
    return 0


def stream(given: argparse.Namespace) -> int:
    """Writes the prompt and its continuation by a trained model, token by token, and says how fast it was."""
    model, text = opened_model(given.file), text_of(given.prompt, "--prompt")
    prompt, shown = (text, [text]) if not given.chat else (model.tokenizer.chat([{"role": "user", "content": text}]), [])
    start = model.tokens(prompt)[0]
    known = caches_of(find_mixer("attention"), len(start) + given.tokens)
    cache = None if given.no_cache else named("growing" if given.cache in (None, OWN) else given.cache, known)
    tokens = model.generate(start, given.tokens, np.random.default_rng(given.seed), cache=cache, temperature=given.temperature,
                            top_k=given.top_k, top_p=given.top_p)
    times: list[float] = [time.perf_counter()]

    def timed() -> Iterator[int]:
        for token in tokens:
            times.append(time.perf_counter())
            yield token

    with said():
        written(readable(piece.encode("utf-8", "surrogateescape")) for piece in chain(shown, model.tokenizer.stream(timed())))
    count = len(times) - 1
    first, rest = (times[1] - times[0], times[-1] - times[1]) if count else (0.0, 0.0)
    speed = f", {(count - 1) / rest:.1f} tokens per second" if count > 1 and rest > 0 else ""
    say(f"{len(start)} tokens read in {first:.2f} s, {count} written{speed}; weights of {model.nbytes / (1 << 20):,.0f} MiB{peak()}")
    return 0


def readable(text: bytes) -> str:
    r"""Returns bytes as a text that cannot move the cursor of a terminal or change its state.

    Line ends and tabs stay; other control characters, and bytes that are not UTF-8, are replaced by their number.

    >>> print(readable("é\x1b[2J".encode() + bytes([255])))
    é\x1b[2J\xff
    """
    decoded = text.decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in decoded)
