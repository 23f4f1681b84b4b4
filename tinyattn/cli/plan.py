"""What a comparison will do: settings, one job per mechanism, how long it will take, and afterwards how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tinyattn.cli import threads
from tinyattn.cli.ends import say
from tinyattn.cli.terminal import progress
from tinyattn.models.config import DecoderConfig

Line = dict[str, Any]
Report = dict[str, Any]
# What is promised: a run ends within this many times of what it said, or says why not.
PROMISE = 1.5


@dataclass(frozen=True)
class Job:
    """One mechanism: a training step that may be called again and again, how many there will be, and the work itself.

    `rest` measures a little of what comes after training and returns the seconds that all of it will take; `work` trains
    and yields lines of the report.
    """

    name: str
    step: Callable[[], Any]
    steps: int
    rest: Callable[[], float]
    work: Callable[[], Iterator[Line]]


@dataclass(frozen=True)
class Plan:
    """The jobs of a command, what the report says of all of them, how it is printed, and sizes like those of a step."""

    settings: dict[str, Any]
    title: str
    config: DecoderConfig
    batch: int
    jobs: list[Job]
    show: Callable[[Report], None]


@dataclass
class Clock:
    """When the command began, on the clock and in seconds of the processor, and how long it was said to take."""

    said: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    worked: float = field(default_factory=time.process_time)

    def promise(self, seconds: float) -> str:
        """Returns how long the command will take in all, if that many seconds are left."""
        so_far = time.perf_counter() - self.began
        self.said = so_far + seconds
        return f"this will take about {duration(self.said)}, {duration(so_far)} of which are over"

    def verdict(self) -> str:
        """Returns how long the work took, and why where that is more than was promised."""
        took, worked = time.perf_counter() - self.began, time.process_time() - self.worked
        ratio = took / max(self.said, 1e-9)
        says = f"took {duration(took)}"
        # Under a second of work the start of anything else on the machine is a multiple of it.
        if ratio <= PROMISE or took - self.said < 1.0:
            return says
        says = f"{says}, {ratio:.1f} times the estimate: the machine was busy"
        if worked < took / PROMISE:
            return f"{says}, and this program had a processor for {worked / took:.0%} of that time"
        return f"{says} with other work, or its processor slower than when the first steps were timed"


def duration(seconds: float) -> str:
    """Returns seconds in words that one reads at a glance.

    >>> duration(0.4), duration(75), duration(4000)
    ('1 s', '1 min 15 s', '1 h 6 min')
    """
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def first_steps(plan: Plan) -> dict[int, float]:
    """Returns the seconds of the first mechanism's step by threads: with one and with all, or as the user gave them."""
    say(plan.title)
    return threads.timed(plan.jobs[0].step, plan.jobs[0].name, lambda: threads.in_child({**asdict(plan.config), "batch": plan.batch}))


def estimated(plan: Plan, first: float) -> float:
    """Returns the seconds that all jobs will take, of which the first takes so many per step.

    A few steps of each are timed, and a little of what follows training.
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
    """Yields the lines of the report as they are measured; says before how long that will take, and after how long it took."""
    with threads.fitting(taken, plan.jobs[0].name) as first:
        say(clock.promise(estimated(plan, first)))
        for job in plan.jobs:
            yield from job.work()
        say(clock.verdict())
