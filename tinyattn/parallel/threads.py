"""A communicator whose ranks are threads of one process: what needs several ranks runs without MPI."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.parallel.agree import Ended

# A rank that waits longer waits for ever: some other rank has left its turn out.
PATIENCE = 60.0


class World:
    """What the ranks share: the messages on their way, and whether one of them has ended all."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.changed = threading.Condition()
        self.posts: dict[tuple[int, int, Any], list[Any]] = defaultdict(list)
        self.ended = False

    def post(self, key: tuple[int, int, Any], message: Any) -> None:
        with self.changed:
            self.posts[key].append(message)
            self.changed.notify_all()

    def ready(self, key: tuple[int, int, Any]) -> bool:
        with self.changed:
            return bool(self.posts[key])

    def wait(self, key: tuple[int, int, Any]) -> Any:
        last = time.monotonic() + PATIENCE
        with self.changed:
            while not self.posts[key]:
                if self.ended:
                    raise Ended("another rank has ended all ranks")
                if not self.changed.wait(last - time.monotonic()):
                    raise Ended(f"rank {key[1]} waits for a message of rank {key[0]} that was never sent")
            return self.posts[key].pop(0)

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()


class Request:
    """A message on its way: `Test` says whether it is there, `Wait` waits for it."""

    def __init__(self, world: World, key: tuple[int, int, Any] | None = None, into: np.ndarray | None = None) -> None:
        self.world, self.key, self.into = world, key, into

    def Test(self) -> bool:
        return self.key is None or self.world.ready(self.key)

    def Wait(self) -> None:
        if self.key is not None and self.into is not None:
            message = self.world.wait(self.key)
            if message.size != self.into.size:
                raise ValueError(f"a message of {message.size} bytes came where {self.into.size} were expected")
            self.into[...] = message
            self.key = None


class Threads:
    """One rank of a communicator of threads, with the methods of mpi4py's that this package calls."""

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank, self.calls = world, rank, 0

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.world.size

    def Isend(self, message: Any, dest: int, tag: int = 0) -> Request:
        self.world.post((self.rank, dest, tag), np.array(message))
        return Request(self.world)

    def Irecv(self, into: Any, source: int, tag: int = 0) -> Request:
        return Request(self.world, (source, self.rank, tag), into)

    def allgather(self, value: Any) -> list[Any]:
        self.calls += 1
        for other in range(self.world.size):
            self.world.post((self.rank, other, ("all", self.calls)), value)
        return [self.world.wait((other, self.rank, ("all", self.calls))) for other in range(self.world.size)]

    def Alltoallv(self, sent: Sequence[Any], received: Sequence[Any]) -> None:
        (message, (counts, _)), (into, (sizes, _)) = sent, received
        self.calls += 1
        at = 0
        for other, count in enumerate(counts):
            self.world.post((self.rank, other, ("each", self.calls)), np.array(message[at : at + count]))
            at += count
        at = 0
        for other, count in enumerate(sizes):
            part = self.world.wait((other, self.rank, ("each", self.calls)))
            if part.size != count:
                raise ValueError(f"a message of {part.size} bytes came where {count} were expected")
            into[at : at + count] = part
            at += count

    def Abort(self, code: int = 1) -> None:
        self.world.end()


def run(ranks: int, program: Callable[[Any], Any]) -> list[Any]:
    """Returns what program(comm) returns on each of so many ranks, which run as threads of this process.

    If one of them raises, the others end too, and its error is raised here; of several errors, the first by rank.

    >>> run(3, lambda comm: comm.allgather(comm.Get_rank()))
    [[0, 1, 2], [0, 1, 2], [0, 1, 2]]
    """
    world = World(whole("ranks", ranks, 1))
    results: list[Any] = [None] * ranks
    errors: list[BaseException | None] = [None] * ranks

    def begin(rank: int) -> None:
        finished = False
        try:
            results[rank] = program(Threads(world, rank))
            finished = True
        except BaseException as error:
            errors[rank] = error
        finally:
            if not finished:
                world.end()

    threads = [threading.Thread(target=begin, args=(rank,), daemon=True) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raised = [error for error in errors if error is not None]
    for error in sorted(raised, key=lambda error: isinstance(error, Ended)):
        raise error
    return results
