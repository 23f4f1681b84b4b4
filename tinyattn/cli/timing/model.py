"""Reading a prompt and writing tokens by a trained model, beside transformers and llama.cpp where these are installed."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from tinyattn.cli.outputs import Line
from tinyattn.cli.real import opened_model
from tinyattn.cli.timing.measure import ratio
from tinyattn.cli.timing.model_peers import Writes, peers_of
from tinyattn.models import Model
from tinyattn.ops.types import Array

SAYS = "reading a prompt and writing tokens by the model of --file, beside transformers and llama.cpp"
# Tokens of the prompt, and tokens that are written after it.
PROMPT, WRITTEN = 256, 16
OURS = "tinyattn"


def ours(model: Model) -> Writes:
    """Returns our own reading of a prompt and writing after it."""
    def writes(prompt: Array, count: int) -> tuple[float, float]:
        started = time.perf_counter()
        tokens = model.generate(prompt, count + 1)
        next(tokens)
        read = time.perf_counter()
        written = len([*islice(tokens, count)])
        return read - started, (time.perf_counter() - read) / max(written, 1)
    return writes


def time_model(path: str, rounds: int) -> list[Line]:
    """Returns a row for the prompt and one for a token: milliseconds in each library, and how many times faster ours is."""
    started = time.perf_counter()
    model = opened_model(path)
    opened = time.perf_counter() - started
    length = min(PROMPT, max((model.context or PROMPT + WRITTEN) - WRITTEN, 1))
    prompt = np.random.default_rng(0).integers(0, model.network.embedding.shape[0], length)
    model = endless(model)
    all_of = {OURS: ours(model), **peers_of(Path(path), model, prompt)}
    print(f"{model.name}: opened in {opened:.2f} s; a prompt of {length} random tokens, {WRITTEN} tokens after it", flush=True)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in all_of}
    for number in range(rounds + 1):
        for name, writes in all_of.items():
            seconds = writes(prompt, WRITTEN)
            if number:
                taken[name].append(seconds)
    return [line(name, {library: [pair[part] for pair in pairs] for library, pairs in taken.items()}, count)
            for part, (name, count) in enumerate((("prompt", length), ("token", 1)))]


def endless(model: Model) -> Model:
    """Returns the model without tokens that end a text, so that every round writes equally many."""
    return replace(model, end=frozenset())


def line(name: str, taken: dict[str, list[float]], tokens: int) -> Line:
    """Returns a row of the table."""
    times = {library: statistics.median(seconds) for library, seconds in taken.items()}
    return {"what": name, **{f"{library} ms": f"{1e3 * seconds:,.1f}" for library, seconds in times.items()},
            "tokens/s": f"{tokens / times[OURS]:,.1f}",
            **{f"of {library}": f"{ratio(taken[library], taken[OURS]):.2f}" for library in taken if library != OURS}}
