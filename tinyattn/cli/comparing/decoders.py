"""The decoders that are compared: how they are made and trained, and how fast they write."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.catalog import find
from tinyattn.catalog.row import Row
from tinyattn.cli import memory, threads
from tinyattn.cli.training import Training
from tinyattn.models import text as texts
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import generate
from tinyattn.models.train import Step, train
from tinyattn.ops.types import Array

# About 1 / sqrt(width). With 0.02, which suits a width of many hundreds, linear attention ends 0.3 bits per byte higher.
DEVIATION = 0.12


@dataclass(frozen=True, eq=False)
class Task:
    """What all mechanisms of a comparison share: the sizes of the model, the training text, held text, and the options given."""

    config: DecoderConfig
    text: Array
    held: Array
    given: argparse.Namespace

    def created(self, row: Row) -> Decoder:
        """Returns a new model that mixes its tokens by the row's mechanism."""
        return Decoder.create(self.config, np.random.default_rng(self.given.seed), deviation=DEVIATION, **row.mixing)

    def training(self, row: Row) -> Training:
        """Returns the training of such a model."""
        def begin(steps: int) -> Iterator[Step[Decoder]]:
            return train(self.created(row), self.text, steps=steps, context=self.config.context, batch=self.given.batch,
                         peak=self.given.rate, rng=np.random.default_rng([self.given.seed, 1]))

        return Training(row.name, self.given.steps, begin)

    def windows(self, limit: int) -> tuple[Array, Array]:
        """Returns inputs and targets of at most so many windows of the held text."""
        return texts.windows(self.held, context=self.config.context, limit=limit)


def print_step_seconds(sizes: dict[str, Any]) -> None:
    """Prints the seconds of a training step of attention with these sizes: `threads.in_child` asks a child process for it."""
    given = argparse.Namespace(seed=0, batch=sizes.pop("batch"), steps=1, rate=1e-3)
    text = np.random.default_rng(0).integers(0, 256, 4 * sizes["context"], dtype=np.uint8)
    memory.keep()
    step = Task(DecoderConfig(**sizes), text, text, given).training(find("attention")).timed()
    step()
    print(threads.seconds_of(step))


def decoding(decoder: Decoder, prompt: bytes, tokens: int, cache: Callable[[], Any] | None) -> float:
    """Returns the tokens per second after the first token, for which the prompt is read."""
    times = [time.perf_counter() for _ in generate(decoder, prompt, max(tokens, 2), cache=cache)]
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9)
