"""The plan of a comparison: its settings, one job per mechanism, an estimate of its duration, and afterwards the duration itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tinyattn.cli import threads
from tinyattn.cli.ends import say
from tinyattn.cli.outputs import Line
from tinyattn.cli.terminal import progress
from tinyattn.cli.training import Trained, Training
from tinyattn.models.config import DecoderConfig

Report = dict[str, Any]
# A run that takes more than this many times its estimate says why.
PROMISE = 1.5


@dataclass(frozen=True)
class Job:
    """One mechanism's part of a comparison.

    `step` takes one training step and may be called any number of times; the work has `steps` of them. `rest` tries a little
    of what follows the training and returns the seconds that all of it will take. `work` trains and yields rows of the report.
    """

    name: str
    step: Callable[[], Any]
    steps: int
    rest: Callable[[], float]
    work: Callable[[], Iterator[Line]]

    @classmethod
    def of(cls, training: Training, rest: Callable[[], float], measured: Callable[[Trained], Iterator[Line]]) -> Job:
        """Returns the job that runs a training and yields what `measured` finds in its outcome."""
        return cls(training.name, training.timed(), training.steps, rest, lambda: measured(training.run()))


@dataclass(frozen=True)
class Plan:
    """All jobs of a comparison, the settings that its report names, its title, and how the report is printed.

    `config` and `batch` are sizes of a training step that takes about as long as one of the first job.
    """

    settings: dict[str, Any]
    title: str
    config: DecoderConfig
    batch: int
    jobs: list[Job]
    show: Callable[[Report], None]


@dataclass
class Clock:
    """When the command began, in seconds of the clock and of the processor, and how many seconds the estimate promised."""

    said: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    worked: float = field(default_factory=time.process_time)

    def promise(self, seconds: float) -> str:
        """Returns a sentence on how long the whole command takes, if so many seconds are left."""
        so_far = time.perf_counter() - self.began
        self.said = so_far + seconds
        return f"this will take about {duration(self.said)}, {duration(so_far)} of which are over"

    def verdict(self) -> str:
        """Returns a sentence on how long the work took, with the reason where it took much longer than the estimate."""
        took, worked = time.perf_counter() - self.began, time.process_time() - self.worked
        ratio = took / max(self.said, 1e-9)
        says = f"took {duration(took)}"
        # A command of less than a second takes several times as long when any other program starts.
        if ratio <= PROMISE or took - self.said < 1.0:
            return says
        says = f"{says}, {ratio:.1f} times the estimate: the machine was busy"
        if worked < took / PROMISE:
            return f"{says}, and this program had a processor for {worked / took:.0%} of that time"
        return f"{says} with other work, or its processor slower than when the first steps were timed"


def duration(seconds: float) -> str:
    """Returns seconds as a short text.

    >>> duration(0.4), duration(75), duration(4000)
    ('1 s', '1 min 15 s', '1 h 6 min')
    """
    minutes, rest = divmod(max(round(seconds), 1), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def first_steps(plan: Plan) -> dict[int, float]:
    """Returns the seconds of the first job's training step by the number of threads, as `threads.timed` measures them."""
    say(plan.title)
    first, sizes = plan.jobs[0], {**asdict(plan.config), "batch": plan.batch}
    return threads.timed(first.step, first.name, lambda: threads.in_child(sizes))


def estimated(plan: Plan, first: float) -> float:
    """Returns the seconds that all jobs will take, if a step of the first one takes `first` seconds.

    A few steps of the others are timed, and of every job a little of what follows the training.
    """
    total = 0.0
    with progress("estimate", len(plan.jobs)) as bar:
        for number, job in enumerate(plan.jobs):
            if number:
                job.step()
            total += job.steps * (threads.seconds_of(job.step) if number else first) + job.rest()
            bar.step(number + 1, job.name)
    return total


def lines(plan: Plan, taken: dict[int, float], clock: Clock) -> Iterator[Line]:
    """Yields the rows of the report as they are measured; prints an estimate of the duration before, and the duration after."""
    with threads.fitting(taken, plan.jobs[0].name) as first:
        say(clock.promise(estimated(plan, first)))
        for job in plan.jobs:
            yield from job.work()
        say(clock.verdict())
