"""A mechanism's model, trained before one's eyes, and how fast it writes."""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.catalog.row import Row
from tinyattn.cli.terminal import progress
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.train import train
from tinyattn.ops.types import Array


def trained(row: Row, config: DecoderConfig, text: Array, given: argparse.Namespace) -> tuple[Decoder, list[float], list[float]]:
    """Returns a model that mixes its tokens by the row's mechanism, and the loss and the seconds of each step."""
    decoder = Decoder.create(config, np.random.default_rng(given.seed), **row.mixing)
    losses, seconds = [], []
    with progress(row.name, given.steps) as bar:
        for step in train(decoder, text, steps=given.steps, context=given.context, batch=given.batch,
                          rng=np.random.default_rng([given.seed, 1])):
            decoder = step.decoder
            losses.append(step.loss)
            seconds.append(step.seconds)
            bar.step(step.number + 1, f"{step.loss / math.log(2.0):.2f} bits")
    return decoder, losses, seconds


def decoding(decoder: Decoder, prompt: bytes, tokens: int, cache: Callable[[], Any] | None) -> tuple[float, bytes]:
    """Returns tokens a second after the first, which reads the prompt, and what was written."""
    times, written = [], []
    for token in generate(decoder, prompt, max(tokens, 2), cache=cache):
        times.append(time.perf_counter())
        written.append(token)
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9), bytes(written)


def machine() -> dict[str, Any]:
    """Returns on what was measured."""
    return {"processor": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version(),
            "numpy": np.__version__}
