"""The plan of a comparison: its settings, one job per mechanism, an estimate of its duration, and afterwards the duration itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from tinyattn.cli import threads
from tinyattn.cli.comparing.pool import workers
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

    `config` and `batch` are sizes of a training step that takes about as long as one of the first job. `again` can be pickled and
    makes the same plan in another process.
    """

    settings: dict[str, Any]
    title: str
    config: DecoderConfig
    batch: int
    jobs: list[Job]
    show: Callable[[Report], None]
    again: Callable[[], Plan]


@dataclass
class Clock:
    """When the command began, in seconds of the clock and of the processor, and how many seconds the estimate promised.

    `processes` is the number of processes at work; of several, how long each had a processor is not known.
    """

    said: float = 0.0
    processes: int = 1
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
        if self.processes == 1 and worked < took / PROMISE:
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
    """Yields the rows of the report as they are measured; prints an estimate of the duration before, and the duration after.

    Raises:
        FloatingPointError: a loss that was not finite; the other jobs are done first.
    """
    failed: list[str] = []
    with threads.fitting(taken, plan.jobs[0].name) as first:
        say(clock.promise(estimated(plan, first)))
        for job in plan.jobs:
            yield from worked(job, failed)
        say(clock.verdict())
    check_failed(failed)


def worked(job: Job, failed: list[str]) -> Iterator[Line]:
    """Yields the rows of a job; if its loss is not finite, says so at the end of `failed` instead."""
    try:
        yield from job.work()
    except FloatingPointError as error:
        failed.append(f"{job.name}: {error}")


def check_failed(failed: list[str]) -> None:
    """Raises FloatingPointError if any job has failed."""
    if failed:
        raise FloatingPointError("; ".join(failed))


def lines_of_workers(plan: Plan, processes: int, clock: Clock) -> Iterator[Line]:
    """Yields what `lines` yields, in the order in which the jobs are done by so many processes, each with one thread.

    The longest job begins first, so that all processes end at about the same time. Every job gives what it gives alone in a
    process of one thread, except for the speeds: they are measured while the other processes work.

    Raises:
        FloatingPointError: as `lines`. ChildProcessError: a process was killed.
    """
    failed: list[str] = []
    seconds: dict[int, float] = {}
    note = "; kernels are compiled first, which is done once and takes a while" if threads.compiling() else ""
    say(f"{processes} models at a time, each in a process of its own with one thread{note}")
    with workers(processes) as each:
        with progress("estimate", len(plan.jobs)) as bar:
            for number, found in each(partial(seconds_in_worker, plan.again), range(len(plan.jobs))):
                seconds[number] = found
                bar.step(len(seconds), plan.jobs[number].name)
        say(clock.promise(max(sum(seconds.values()) / processes, *seconds.values())))
        longest_first = sorted(seconds, key=lambda number: -seconds[number])
        with progress("training", len(plan.jobs)) as bar:
            for done, (number, (rows, refused)) in enumerate(each(partial(work_in_worker, plan.again), longest_first), 1):
                yield from rows
                failed += refused
                bar.step(done, plan.jobs[number].name)
    say(clock.verdict())
    check_failed(failed)


def seconds_in_worker(again: Callable[[], Plan], number: int) -> float:
    """Returns the seconds that a job of a plan will take in this process."""
    job = again().jobs[number]
    job.step()  # compiles kernels and allocates memory
    return job.steps * threads.seconds_of(job.step, enough=0.2) + job.rest()


def work_in_worker(again: Callable[[], Plan], number: int) -> tuple[list[Line], list[str]]:
    """Returns the rows of a job of a plan, and what failed."""
    failed: list[str] = []
    return [*worked(again().jobs[number], failed)], failed
