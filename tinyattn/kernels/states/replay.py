"""What kernels gave, kept while a form around them runs, and given again where it runs a second time for its gradients.

What a form computes in NumPy before and after a kernel takes little time to compute again, and much memory to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np

Kernel = Callable[..., tuple[Any, Any]]


class Tape:
    """The results of the kernels that a form calls, in the order of its calls.

    Unless `outs`, what a kernel gives first, an array as long as the text, is not kept: the form must never compute from it what its
    gradients read.
    """

    def __init__(self, *, outs: bool) -> None:
        self.outs = outs
        self.kept: list[tuple[Any, Any]] = []
        self.given: Iterator[tuple[Any, Any]] | None = None

    @contextmanager
    def written(self) -> Iterator[None]:
        """Context manager in which the results of kernels are kept."""
        with inside(self):
            yield

    @contextmanager
    def read(self) -> Iterator[None]:
        """Context manager in which kernels give what was kept, and compute nothing."""
        self.given = iter(self.kept)
        try:
            with inside(self):
                yield
        finally:
            self.given = None

    def keep(self, outs: Any, rest: Any) -> None:
        """Keeps what a kernel gave, and what its backward reads beside its arguments."""
        if not self.outs:
            first = outs[0] if isinstance(outs, tuple) else outs
            unread = np.broadcast_to(np.zeros((), first.dtype), first.shape)
            outs = (unread, *outs[1:]) if isinstance(outs, tuple) else unread
        self.kept.append((outs, rest))


TAPE: ContextVar[Tape | None] = ContextVar("TAPE", default=None)


@contextmanager
def inside(tape: Tape) -> Iterator[None]:
    """Context manager in which kernels keep their results on a tape, or give those that are on it."""
    token = TAPE.set(tape)
    try:
        yield
    finally:
        TAPE.reset(token)


def replayed(rest: Callable[[Any], Any], saved: Callable[..., Any]) -> Callable[[Kernel], Kernel]:
    """Returns the decorator of a function `f(...) -> (outs, saved)` whose results are kept and given again.

    `rest(saved)` is what its backward reads beside its arguments, and `saved(rest, *arguments)` all that it reads.
    """
    def decorate(function: Kernel) -> Kernel:
        @wraps(function)
        def call(*arguments: Any) -> tuple[Any, Any]:
            tape = TAPE.get()
            if tape is None:
                return function(*arguments)
            if tape.given is None:
                outs, read = function(*arguments)
                tape.keep(outs, rest(read))
                return outs, read
            outs, kept = next(tape.given)
            return outs, saved(kept, *arguments)

        return call

    return decorate
