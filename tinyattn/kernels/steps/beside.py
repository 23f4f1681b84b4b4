"""Two functions at the same time, each with half of the threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from tinyattn.kernels.tiles.blas import one_thread_per_product
from tinyattn.kernels.tiles.jobs import POOL
from tinyattn.kernels.tiles.threads import thread_count, threads


def beside(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[Any, Any]:
    """Returns the results of both; with one thread, of one after the other.

    While one is in Python the other computes, and no kernel waits for a thread to wake up. A caller that is interrupted, or whose
    function fails, waits for the other.

    >>> beside(lambda: 1, lambda: 2)
    (1, 2)
    """
    count = thread_count()
    if count < 2:
        return one(), other()
    with threads(count // 2), one_thread_per_product() if count < 4 else contextlib.nullcontext():
        try:
            job = POOL.submit(other)
        except RuntimeError:  # the interpreter is shutting down and starts no threads
            return one(), other()
        try:
            first = one()
        finally:
            job.wait()
        return first, job.result()
