"""Tasks over threads: each task is computed alone, so that the bits are the same for any number of threads."""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.jobs import POOL, Job
from tinyattn.ops.checks import whole

MOST = 256
# Multiply-adds for which waking another thread pays: it takes some 200 microseconds, as these do.
LEAST_WORK = 1 << 24
# Numbers of an array from which on another thread pays.
LEAST_SIZE = 1 << 16
VARIABLE = "TINYATTN_THREADS"
asked: contextvars.ContextVar[int | None] = contextvars.ContextVar("asked", default=None)


def check_threads(name: str, number: Any) -> int:
    """Returns the number; TypeError or ValueError unless it is an int from 1 to 256."""
    return whole(name, number, 1, MOST)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Lets the kernels called inside use this many threads; the results are the same bits for any number.

    Raises:
        TypeError: a number that is no int. ValueError: one that is not 1 to 256.

    >>> with threads(1):
    ...     thread_count()
    1
    """
    token = asked.set(check_threads("number", number))
    try:
        yield
    finally:
        asked.reset(token)


def thread_count() -> int:
    """Returns how many threads a kernel uses: what `threads` asks, else TINYATTN_THREADS, else the cores there are."""
    inner = asked.get()
    if inner is not None:
        return inner
    text = os.environ.get(VARIABLE)
    if text:
        if not text.strip().isdecimal():
            raise ValueError(f"{VARIABLE}: expected a number from 1 to {MOST}, got {text!r}")
        return check_threads(VARIABLE, int(text))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST)


def workers_of(tasks: int, work: int) -> int:
    """Returns how many threads `run` starts at most for so many tasks and multiply-adds, at least one."""
    return max(1, min(thread_count(), tasks, 1 + work // LEAST_WORK))


def begin(jobs: list[Job], count: int, kernel: Callable[..., Any], *arguments: Any) -> None:
    """Adds so many begun jobs to the list, one by one, which a caller who is interrupted then knows; none at the interpreter's end."""
    with contextlib.suppress(RuntimeError):  # the interpreter is shutting down and starts no threads
        for _ in range(count):
            jobs.append(POOL.submit(kernel, *arguments))


def run(kernel: Callable[..., Any], tasks: int, work: int, *arguments: Any) -> None:
    """Calls kernel(counter, *arguments) in as many threads as there is work for; each takes tasks until none is left.

    work counts multiply-adds. Less than a thread's least is done by the caller itself.
    When the caller is interrupted or a task fails, tasks that have begun are finished and no other is.
    """
    counter = np.zeros(1, np.int64)
    workers = workers_of(tasks, work)
    if workers < 2:
        kernel(counter, *arguments)
        return
    jobs: list[Job] = []

    def takes_all() -> None:
        try:
            kernel(counter, *arguments)
        finally:  # none is left, or an error ends the call
            counter[0] = tasks

    try:
        begin(jobs, workers, takes_all)
        if not jobs:
            takes_all()
        for job in jobs:
            job.wait()
    finally:
        counter[0] = tasks
        for job in jobs:
            job.wait()
    for job in jobs:
        job.result()


def share(kernel: Callable[..., Any], tasks: int, work: int, *arguments: Any) -> None:
    """Calls kernel(counter, *arguments) as `run` does, with the caller as one of the threads.

    For kernels of a few milliseconds, many in a row: a thread that wakes up late delays nothing. A caller that is interrupted
    finishes the kernel first.
    """
    counter = np.zeros(1, np.int64)
    jobs: list[Job] = []
    try:
        begin(jobs, workers_of(tasks, work) - 1, kernel, counter, *arguments)
        kernel(counter, *arguments)
    finally:
        counter[0] = tasks
        begun = [job for job in jobs if not job.cancel()]
        for job in begun:
            job.wait()
    for job in begun:
        job.result()


def workers_for(count: int, size: int) -> int:
    """Returns how many threads `each` uses for so many tasks on arrays of so many numbers."""
    return max(min(thread_count(), count), 1) if size >= LEAST_SIZE else 1


def each(task: Callable[[int], None], count: int, size: int) -> None:
    """Calls task(0) to task(count - 1), each of which writes to a place of its own, over threads if the arrays are large.

    When the caller is interrupted or a task fails, tasks that have begun are finished and no other is.
    """
    workers, jobs, ended = workers_for(count, size), list[Job](), list[bool]()

    def some(first: int) -> None:
        try:
            for n in range(first, count, workers):
                if ended:
                    return
                task(n)
        except BaseException:
            ended.append(True)
            raise

    try:
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down and starts no threads
            for first in range(1, workers):
                jobs.append(POOL.submit(some, first))
        for first in (0, *range(1 + len(jobs), workers)):
            some(first)
        for job in jobs:
            job.wait()
    finally:
        ended.append(True)
        for job in jobs:
            job.wait()
    for job in jobs:
        job.result()


def next_task_in_python(counter: Any) -> int:
    """Returns the number of the next task."""
    counter[0] += 1
    return int(counter[0]) - 1


def take(_context: Any, counter: Any) -> Any:
    """Returns the intrinsic of the next task's number: one atomic addition, whichever thread asks."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        place = context.make_array(counter)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", place, ir.IntType(64)(1), "monotonic")

    return types.intp(counter), generate


next_task = next_task_in_python if DISABLED else intrinsic(take)
