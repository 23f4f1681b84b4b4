"""How a call of somebody else's kernel fails: each way is an exception of its own."""

from __future__ import annotations


class Told(Exception):
    """An error of another process, whose kind stands in its text."""


class Raised(Exception):
    """The kernel raised an error, whose kind and text are the message."""

    def __init__(self, error: BaseException) -> None:
        text = " ".join(str(error).split())
        super().__init__(text if isinstance(error, Told) else f"{type(error).__name__}: {text}" if text else type(error).__name__)


class Misshaped(Exception):
    """The kernel returned something that is not the expected array; the message says what came and what was expected."""


class Died(Exception):
    """The process in which the kernel ran ended, or a call did not return in time."""


class Late(Exception):
    """The time limit was reached before a call began."""
