"""Worker processes that train several models at the same time, each with one thread for products and kernels."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from tinyattn.cli import memory, threads

J = TypeVar("J")
Each = Callable[[Callable[[J], Any], Iterable[J]], Iterator[tuple[J, Any]]]


def processes_for(jobs: int) -> int:
    """Returns how many processes do so many jobs: one per core, but a single one where the user has asked for several threads."""
    variable = threads.asked()
    return 1 if variable is not None and os.environ[variable] != "1" else max(min(threads.cores(), jobs), 1)


@contextmanager
def workers(processes: int) -> Iterator[Each[Any]]:
    """Gives `each(function, jobs)`, which calls the function in worker processes and yields (job, outcome) as each is done.

    Function, jobs and outcomes are pickled. The jobs begin in their order. Leaving the block by an exception, such as that of
    Ctrl-C, ends the workers at once; `each` raises what a job raises.

    Raises:
        ChildProcessError: a worker was killed.
    """
    before, children = dict(os.environ), {*multiprocessing.active_children()}
    os.environ.update(threads.one_thread())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), begin)

    def each(function: Callable[[J], Any], jobs: Iterable[J]) -> Iterator[tuple[J, Any]]:
        with interrupts_held():
            waiting = {pool.submit(function, job): job for job in jobs}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool:
            raise ChildProcessError("a worker process was killed; perhaps there was not enough memory") from None

    try:
        yield each
    except BaseException:
        for child in {*multiprocessing.active_children()} - children:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delivers Ctrl-C only after the block, and never to a process that is started inside."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def begin() -> None:
    """Prepares a worker: Ctrl-C is left to the process that began it, and so is every line on standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr = None  # the progress of several trainings at once could not be read
    memory.keep()
