"""What all ranks must agree on before any of them waits for another, and how all of them end when one fails afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import numpy as np

from tinyattn.parallel.layout import Layout

T = TypeVar("T")
# Seconds that mpiexec gets to print a rank's error line before Abort ends it: without them the line was lost in 1 of 10 runs.
LINE = 0.2
# Seconds that a rank waits to be ended after Abort, which may return earlier, so that no traceback follows the line.
END = 1.0
METHODS = ("Get_rank", "Get_size", "Ibarrier", "allgather", "Isend", "Irecv", "Ialltoallv", "Abort")
# The errors that a check may raise; any other one is a bug in the program, and ends all ranks.
REFUSALS = (TypeError, ValueError, IndexError)


def check_comm(comm: Any) -> None:
    """Raises TypeError or ValueError unless comm is an intracommunicator that is not freed.

    A rank with such an error has no means to tell the others, but the error is the same on all ranks.
    """
    missing = [name for name in METHODS if not hasattr(comm, name)]
    if missing:
        raise TypeError(f"comm: expected a communicator, as mpi4py's MPI.COMM_WORLD, got {type(comm).__name__}")
    if not comm:
        raise ValueError("comm: expected a communicator, got one that is freed or MPI.COMM_NULL")
    if getattr(comm, "is_inter", False):
        raise TypeError("comm: expected an intracommunicator, got an intercommunicator")


def check_layout(layout: Any, ranks: int) -> None:
    """Raises TypeError or ValueError unless it is a layout over this number of ranks."""
    if not isinstance(layout, Layout):
        raise TypeError(f"layout: expected a Layout, as contiguous(length, ranks) makes it, got {type(layout).__name__}")
    if layout.ranks != ranks:
        raise ValueError(f"layout: expected one over the {ranks} ranks of the communicator, got one over {layout.ranks}")


def wait(request: Any) -> None:
    """Waits until a request is done, by asking again and again.

    An MPI call that waits does not return on a signal: a rank that waits for another in `Wait` would not see Ctrl-C. It asks
    without a pause, as MPI itself does: a large message moves on by some kilobytes with each question.
    """
    while not request.Test():
        time.sleep(0)
    request.Wait()


def agreed(comm: Any, checked: Callable[[], tuple[dict[str, Any], T]], name: str) -> tuple[T, list[dict[str, Any]]]:
    """Returns the value that `checked` gives and the facts of all ranks, after all ranks have agreed.

    `checked()` returns (facts, value) or raises. The facts whose names do not end in `_here` must be equal on all ranks. An
    error on one rank, or a fact that differs, becomes the same error on every rank: this takes a barrier and one `allgather`,
    in which every rank takes part even if its own check failed.

    Raises:
        TypeError, ValueError, IndexError: what one of the ranks raised, with its number, or a fact that differs.
    """
    check_comm(comm)
    value: Any = None
    facts: dict[str, Any] = {}
    problem: tuple[str, str] | None = None
    try:
        facts, value = checked()
    except REFUSALS as error:
        kind = next(kind.__name__ for kind in REFUSALS if isinstance(error, kind))
        problem = kind, str(error)
    with Together(comm, name):
        wait(comm.Ibarrier())
        all_facts = comm.allgather((name, problem, facts))
    problems = [(rank, *found) for rank, (_, found, _) in enumerate(all_facts) if found]
    if problems:
        rank, kind, said = problems[0]
        everywhere = len(problems) == len(all_facts) and len({found[1:] for found in problems}) == 1
        raise {error.__name__: error for error in REFUSALS}[kind](f"{name}: {said}" if everywhere else f"{name}: rank {rank}: {said}")
    if len({called for called, _, _ in all_facts}) > 1:
        raise ValueError(f"{name}: expected the same call on all ranks, got {', '.join(called for called, _, _ in all_facts)}")
    gathered = [theirs for _, _, theirs in all_facts]
    for fact in gathered[0]:
        if fact.endswith("_here"):
            continue
        for rank, theirs in enumerate(gathered):
            if theirs[fact] != gathered[0][fact]:
                raise ValueError(f"{name}: {fact}: expected the same on all ranks, got {gathered[0][fact]} on rank 0 and "
                                 f"{theirs[fact]} on rank {rank}")
    return value, gathered


class Together:
    """A block in which all ranks wait for one another: an error in it prints one line and ends all of them.

    After an error the other ranks would wait for messages that never come, so `comm.Abort` ends them. With a single rank
    nobody waits, and the error is raised unchanged.
    """

    def __init__(self, comm: Any, name: str) -> None:
        self.comm, self.name = comm, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or self.comm.Get_size() == 1 or isinstance(error, Ended):
            return
        said = " ".join(str(error).split())
        print(f"{self.name}: rank {self.comm.Get_rank()}: {type(error).__name__}{': ' if said else ''}{said}; all ranks end",
              file=sys.stderr, flush=True)
        time.sleep(LINE)
        self.comm.Abort(1)
        time.sleep(END)


class Ended(RuntimeError):
    """What a waiting rank raises in a communicator of threads when another rank has ended all of them."""


def refuse_again(name: str) -> Callable[..., NoReturn]:
    """Returns a function that raises the TypeError of a second derivative."""
    def refuse(*_: Any) -> NoReturn:
        raise TypeError(f"{name} has a first derivative only; for a second one use one process")
    return refuse


def refuse_options(options: dict[str, Any], taken: str) -> None:
    """Raises TypeError for the first option that a scheme does not take."""
    for option in options:
        raise TypeError(f"unexpected option {option!r}; over several ranks it takes {taken}")


def differentiated(**arrays: Any) -> str:
    """Returns the names of the arguments that are Tensors: all ranks must take part in exchanging their gradients."""
    return ", ".join(name for name, array in arrays.items() if not isinstance(array, np.ndarray)) or "none"
