"""A training that can be started any number of times: timed step by step, or run to its end with every loss kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinyattn.cli.terminal import progress
from tinyattn.models.train import Step

# Steps of a training that is only timed: so many that the learning rate stays near 0 and the model hardly changes.
ENDLESS = 1 << 20


def bits(loss: float) -> str:
    """Returns a loss in nats as text in bits.

    >>> bits(math.log(4.0))
    '2.00 bits'
    """
    return f"{loss / math.log(2.0):.2f} bits"


@dataclass(frozen=True)
class Trained:
    """What a training left: its last step, and the losses and the seconds of all steps."""

    last: Step[Any]
    losses: list[float]
    seconds: list[float]


@dataclass(frozen=True)
class Training:
    """The training of one model: its name, how many steps it takes, and `begin(steps)`, which yields them from the first on.

    `shown` is the text of a loss beside the progress.
    """

    name: str
    steps: int
    begin: Callable[[int], Iterator[Step[Any]]]
    shown: Callable[[float], str] = bits

    def timed(self) -> Callable[[], Step[Any]]:
        """Returns a function that takes the next step of a model which is made at the first call and is never trained for real."""
        return partial(next, self._endless())

    def _endless(self) -> Iterator[Step[Any]]:
        yield from self.begin(ENDLESS)

    def run(self) -> Trained:
        """Trains to the end."""
        losses, seconds = [], []
        with progress(self.name, self.steps) as bar:
            for step in self.begin(self.steps):
                losses.append(step.loss)
                seconds.append(step.seconds)
                bar.step(len(losses), self.shown(step.loss))
        return Trained(step, losses, seconds)
