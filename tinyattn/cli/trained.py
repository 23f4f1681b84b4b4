"""A mechanism's model, trained before one's eyes, and how fast it writes."""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.catalog import find
from tinyattn.catalog.row import Row
from tinyattn.cli import memory, threads
from tinyattn.cli.terminal import progress
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.train import Step, train
from tinyattn.ops.types import Array

# About 1 / sqrt(width). With 0.02, which suits a width of many hundreds, linear attention ends 0.3 bits per byte higher.
DEVIATION = 0.12


def created(row: Row, config: DecoderConfig, given: argparse.Namespace) -> Decoder:
    """Returns a new model that mixes its tokens by the row's mechanism."""
    return Decoder.create(config, np.random.default_rng(given.seed), deviation=DEVIATION, **row.mixing)


def steps_of(row: Row, config: DecoderConfig, text: Array, given: argparse.Namespace) -> Iterator[Step]:
    """Yields the training steps of a new model."""
    return train(created(row, config, given), text, steps=given.steps, context=config.context, batch=given.batch, peak=given.rate,
                 rng=np.random.default_rng([given.seed, 1]))


def trained(row: Row, config: DecoderConfig, text: Array, given: argparse.Namespace) -> tuple[Decoder, list[float], list[float]]:
    """Returns a model that mixes its tokens by the row's mechanism, and the loss and the seconds of each step."""
    losses, seconds = [], []
    with progress(row.name, given.steps) as bar:
        for step in steps_of(row, config, text, given):
            losses.append(step.loss)
            seconds.append(step.seconds)
            bar.step(step.number + 1, f"{step.loss / math.log(2.0):.2f} bits")
    return step.decoder, losses, seconds


def stepping(row: Row, config: DecoderConfig, text: Array, given: argparse.Namespace) -> Callable[[], Step]:
    """Returns a function that takes the next training step, for ever, of a model that is made at its first call."""
    # At a rate of nearly 0 the model stays what it is, however many steps are timed.
    endless = argparse.Namespace(**{**vars(given), "steps": 1, "rate": 1e-9})
    steps = (step for _ in count() for step in steps_of(row, config, text, endless))
    return lambda: next(steps)


def tell_step(sizes: dict[str, Any]) -> None:
    """Prints the seconds of a training step of attention with these sizes: what a child process is asked."""
    given = argparse.Namespace(seed=0, batch=sizes.pop("batch"))
    text = np.random.default_rng(0).integers(0, 256, 4 * sizes["context"], dtype=np.uint8)
    memory.keep()
    step = stepping(find("attention"), DecoderConfig(**sizes), text, given)
    step()
    print(threads.seconds_of(step))


def decoding(decoder: Decoder, prompt: bytes, tokens: int, cache: Callable[[], Any] | None) -> float:
    """Returns tokens per second after the first, which reads the prompt."""
    times = [time.perf_counter() for _ in generate(decoder, prompt, max(tokens, 2), cache=cache)]
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9)


def machine() -> dict[str, Any]:
    """Returns on what was measured."""
    return {"processor": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version(),
            "numpy": np.__version__, "kernels": fastest.kernel() is not None}
