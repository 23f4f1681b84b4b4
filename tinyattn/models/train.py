"""The training loop: a generator of steps, so that its caller may watch, stop, and keep what there is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real

import numpy as np

from tinyattn.engine.grad import value_and_grad
from tinyattn.models.config import check_sizes
from tinyattn.models.decoder import Decoder, loss
from tinyattn.models.optimise import AdamW, clip, schedule, update
from tinyattn.models.text import batch_of
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class Step:
    """What one step left: its number, its loss in nats, its time, the model and the optimiser's state."""

    number: int
    loss: float
    seconds: float
    decoder: Decoder
    state: AdamW


def train(decoder: Decoder, text: Array, *, steps: int, context: int, batch: int, rng: np.random.Generator,
          peak: float = 3e-3, state: AdamW | None = None) -> Iterator[Step]:
    """Yields a Step after each step of AdamW on random cuts of a text; the same rng gives the same losses.

    The learning rate rises to its `peak` over the first twentieth of the steps and falls to a tenth of it at the last.

    Raises:
        TypeError: steps that are not an int; a text, context, batch or rng as `batch_of` refuses it.
        ValueError: steps below 1, a peak that is not a finite number above 0; a text, context or batch as in `batch_of`.
        FloatingPointError: a loss that is not finite.
    """
    check_sizes({"steps": steps})
    check_peak(peak)
    state = AdamW.create(decoder) if state is None else state
    step_of = value_and_grad(loss)
    total = state.steps + steps
    for number in range(state.steps, total):
        started = time.perf_counter()
        inputs, targets = batch_of(text, context=context, batch=batch, rng=rng)
        value, gradients = step_of(decoder, inputs, targets)
        if not math.isfinite(value):
            raise FloatingPointError(f"step {number}: the loss is {value}; lower the learning rate {peak}")
        gradients, _ = clip(gradients, 1.0)
        rate = schedule(number, steps=total, peak=peak, warmup=max(total // 20, 1))
        decoder, state = update(decoder, gradients, state, rate=rate)
        yield Step(number, float(value), time.perf_counter() - started, decoder, state)


def check_peak(peak: float) -> None:
    """Raises unless a learning rate is a finite number above 0."""
    if isinstance(peak, bool) or not isinstance(peak, Real):
        raise TypeError(f"peak: expected a number, got {type(peak).__name__}")
    if not (math.isfinite(peak) and peak > 0.0):
        raise ValueError(f"peak: expected a finite number above 0, got {peak}")
