"""Tasks of other threads, and the threads, which an interruption of the caller leaves as they are."""

from __future__ import annotations

import contextvars
import os
from _thread import start_new_thread
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any


class Job:
    """A task of another thread, waited for by a lock alone, which an interruption leaves as it is.

    Futures and their pools wait by conditions. When Ctrl-C came while one took its lock again, the thread which held that died, and a
    later call waited for it for ever. A task that no thread has begun after a second is done by the caller.
    """

    def __init__(self, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.task, self.arguments, self.ended = task, arguments, False
        self.value: Any = None
        self.error: BaseException | None = None
        self.begun, self.over = Lock(), Lock()
        self.over.acquire()
        self.context = contextvars.copy_context()  # what the caller's `np.errstate` ignores is ignored

    def do(self) -> None:
        """Does the task, unless another thread has begun it."""
        if not self.begun.acquire(blocking=False):
            return
        try:
            self.value = self.task(*self.arguments)
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self.over.release()

    def cancel(self) -> bool:
        """Returns whether the task had not begun, and will not."""
        return self.begun.acquire(blocking=False)

    def wait(self) -> None:
        """Waits until the task has ended."""
        while not self.ended:
            if self.over.acquire(timeout=1.0):
                self.over.release()
            elif not self.begun.locked():
                POOL.forget()
                self.do()

    def result(self) -> Any:
        """Returns what the task returns, once it has ended; raises its error."""
        self.wait()
        if self.error is not None:
            raise self.error
        return self.value


class Pool:
    """The threads of this process, made when they are first needed, and forgotten in a forked child, which has none."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begins anew, without threads."""
        self.jobs, self.idle = SimpleQueue[Job](), SimpleQueue[None]()

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Job:
        """Begins a task in a thread that is idle, or in a new one; RuntimeError where none can be started."""
        job = Job(task, arguments)
        try:
            self.idle.get_nowait()
        except Empty:
            start_new_thread(serve, (self.jobs, self.idle))
        self.jobs.put(job)
        return job


def serve(jobs: SimpleQueue[Job], idle: SimpleQueue[None]) -> None:
    """Does one job after the other, for ever."""
    while True:
        job = jobs.get()
        job.context.run(job.do)
        del job  # and its arrays, while it waits
        idle.put(None)


POOL = Pool()
