"""The training loop: a generator of steps, so that its caller may watch, stop and keep the current model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Generic, TypeVar

import numpy as np

from tinyattn.engine.grad import value_and_grad
from tinyattn.models.decoder import Decoder, loss
from tinyattn.models.given import check_given
from tinyattn.models.halves import by_halves
from tinyattn.models.optimise import AdamW, schedule, update
from tinyattn.models.text import batch_of, check_cut, check_range
from tinyattn.ops.checks import check_rng, real, whole
from tinyattn.ops.types import Array

M = TypeVar("M")


@dataclass(frozen=True, eq=False)
class Step(Generic[M]):
    """One training step: its number, its loss in nats and its seconds; the model and the optimiser's state after it.

    >>> from tinyattn.models.config import DecoderConfig
    >>> config = DecoderConfig(width=8, layers=1, heads=2, hidden=8)
    >>> decoder, text = Decoder.create(config, np.random.default_rng(0)), np.arange(64, dtype=np.uint8)
    >>> step = next(train(decoder, text, steps=1, context=8, batch=2, rng=np.random.default_rng(0)))
    >>> step.number, round(step.loss, 1), step.state.steps
    (0, 5.5, 1)
    """

    number: int
    loss: float
    seconds: float
    model: M
    state: AdamW = field(repr=False)

    @property
    def decoder(self) -> M:
        """The model, under the name for decoders."""
        return self.model


def train(decoder: Decoder, text: Array, *, steps: int, context: int, batch: int, rng: np.random.Generator,
          peak: float = 3e-3, state: AdamW | None = None) -> Iterator[Step[Decoder]]:
    """Yields a Step after each step of AdamW on random cuts of a text; the same rng gives the same losses.

    The learning rate rises to its `peak` over the first twentieth of the steps and falls to a tenth of it at the last. With
    the `state` of an earlier training, counting goes on after its steps.

    Raises:
        TypeError: an object that is not a decoder, steps that are not an int, a peak that is not a number; a text,
            context, batch or rng as in `batch_of`. ValueError: steps below 1, a peak that is not a finite
            number above 0, a text outside the vocabulary; a text, context or batch as in `batch_of`.
        FloatingPointError: a loss that is not finite.

    >>> from tinyattn.models.config import DecoderConfig
    >>> config = DecoderConfig(width=8, layers=1, heads=2, hidden=8)
    >>> decoder, text = Decoder.create(config, np.random.default_rng(0)), np.arange(64, dtype=np.uint8)
    >>> steps = [*train(decoder, text, steps=20, context=8, batch=4, rng=np.random.default_rng(0))]
    >>> steps[-1].loss < steps[0].loss
    True
    """
    check_given("decoder", decoder, "a Decoder", "embedding", "blocks")
    steps, batch, peak = whole("steps", steps, 1), whole("batch", batch, 1), real("peak", peak, above=0.0)
    context = check_cut(text, context)
    check_range(text, "text", decoder.embedding.shape[0] - 1)
    check_rng(rng)
    if not isinstance(state, (AdamW, NoneType)):
        raise TypeError(f"state: expected an AdamW or None, got {type(state).__name__}")
    return descend(decoder, loss, lambda: batch_of(text, context=context, batch=batch, rng=rng),
                   AdamW.create(decoder) if state is None else state, steps=steps, peak=peak, gradient=by_halves)


def descend(model: M, loss: Callable[..., Any], draw: Callable[[], tuple[Array, ...]], state: AdamW, *, steps: int,
            peak: float, gradient: Callable[..., Callable[..., Any]] = value_and_grad) -> Iterator[Step[M]]:
    """Yields a Step after each of so many steps of AdamW that lower loss(model, *draw()), where `draw` gives the next batch.

    `gradient(loss)` is a function that returns the loss and its gradients.
    """
    step_of = gradient(loss)
    total = state.steps + steps
    for number in range(state.steps, total):
        started = time.perf_counter()
        batch = draw()
        with np.errstate(over="ignore", invalid="ignore"):  # the loss is checked instead
            value, gradients = step_of(model, *batch)
        if not math.isfinite(value):
            raise FloatingPointError(f"step {number}: the loss is {value}; lower the learning rate, whose peak is {peak}")
        rate = schedule(number, steps=total, peak=peak, warmup=max(total // 20, 1))
        model, state = update(model, gradients, state, rate=rate, limit=1.0)
        yield Step(number, float(value), time.perf_counter() - started, model, state)
