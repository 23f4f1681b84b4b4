"""The training loop: a generator of steps, so that its caller may watch, stop, and keep what there is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType

import numpy as np

from tinyattn.engine.grad import value_and_grad
from tinyattn.models.decoder import Decoder, loss
from tinyattn.models.given import check_given
from tinyattn.models.optimise import AdamW, clip, schedule, update
from tinyattn.models.text import batch_of, check_cut, check_range
from tinyattn.ops.checks import check_rng, real, whole
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
        TypeError: no decoder, steps that are not an int, a peak that is no number; a text, context, batch or rng as `batch_of`
            refuses it. ValueError: steps below 1, a peak that is not a finite number above 0, a text outside the vocabulary;
            a text, context or batch as in `batch_of`.
        FloatingPointError: a loss that is not finite.
    """
    check_given("decoder", decoder, "a Decoder", "embedding", "blocks")
    steps, batch, peak = whole("steps", steps, 1), whole("batch", batch, 1), real("peak", peak, above=0.0)
    context = check_cut(text, context)
    check_range(text, "text", decoder.embedding.shape[0] - 1)
    check_rng(rng)
    if not isinstance(state, (AdamW, NoneType)):
        raise TypeError(f"state: expected an AdamW or None, got {type(state).__name__}")
    return taken(decoder, text, steps, context, batch, rng, peak, AdamW.create(decoder) if state is None else state)


def taken(decoder: Decoder, text: Array, steps: int, context: int, batch: int, rng: np.random.Generator, peak: float,
          state: AdamW) -> Iterator[Step]:
    """Yields each step as it is taken."""
    step_of = value_and_grad(loss)
    total = state.steps + steps
    for number in range(state.steps, total):
        started = time.perf_counter()
        inputs, targets = batch_of(text, context=context, batch=batch, rng=rng)
        with np.errstate(over="ignore", invalid="ignore"):  # the loss tells
            value, gradients = step_of(decoder, inputs, targets)
        if not math.isfinite(value):
            raise FloatingPointError(f"step {number}: the loss is {value}; lower the learning rate, whose peak is {peak}")
        gradients, _ = clip(gradients, 1.0)
        rate = schedule(number, steps=total, peak=peak, warmup=max(total // 20, 1))
        decoder, state = update(decoder, gradients, state, rate=rate)
        yield Step(number, float(value), time.perf_counter() - started, decoder, state)
