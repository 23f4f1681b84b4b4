"""A communicator whose ranks are threads of one process, so that programs for several ranks run without MPI."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.parallel.agree import Ended

# Seconds after which a waiting rank raises: a rank that waits so long waits for a message that is never sent.
PATIENCE = 60.0


Key = tuple[int, int, Any]


class World:
    """What the ranks share: the messages on their way, and whether one of them has ended all."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.posts: dict[tuple[Key, int], np.ndarray] = {}
        self.sent: dict[Key, int] = defaultdict(int)
        self.expected: dict[Key, int] = defaultdict(int)
        self.ended = False

    def post(self, key: Key, message: np.ndarray) -> None:
        with self.lock:
            self.posts[key, self.sent[key]] = message
            self.sent[key] += 1

    def expect(self, key: Key) -> tuple[Key, int]:
        """Returns which message from one rank to another a request is for: requests and messages are matched in their order."""
        with self.lock:
            self.expected[key] += 1
            return key, self.expected[key] - 1

    def take(self, place: tuple[Key, int]) -> np.ndarray | None:
        """Returns a message; None where it is not there yet."""
        with self.lock:
            message = self.posts.pop(place, None)
        if message is None and self.ended:
            raise Ended("another rank has ended all ranks")
        return message


class Request:
    """Messages that a rank expects: `Test` copies those that have arrived to their arrays, and returns whether all have."""

    def __init__(self, world: World, expected: Sequence[tuple[Key, np.ndarray]] = ()) -> None:
        self.world, self.last = world, time.monotonic() + PATIENCE
        self.expected = [(world.expect(key), into) for key, into in expected]

    def Test(self) -> bool:
        while self.expected:
            place, into = self.expected[0]
            message = self.world.take(place)
            if message is None:
                if time.monotonic() > self.last:
                    raise Ended(f"rank {place[0][1]} waits for a message of rank {place[0][0]} that was never sent")
                time.sleep(1e-5)  # the other ranks are threads of the same process, and need it to go on
                return False
            if message.size != into.size:
                raise ValueError(f"a message of {message.size} bytes came where {into.size} were expected")
            into[...] = message
            self.expected.pop(0)
        return True

    def Wait(self) -> None:
        while not self.Test():
            pass


class Threads:
    """One rank of a communicator of threads, with the methods of mpi4py that this package calls."""

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
        return Request(self.world, [((source, self.rank, tag), into)])

    def collective(self, sent: Sequence[np.ndarray], into: Sequence[np.ndarray]) -> Request:
        """Returns the request of one message to and from each rank."""
        self.calls += 1
        tag = "collective", self.calls
        for other, message in enumerate(sent):
            self.world.post((self.rank, other, tag), np.array(message))
        return Request(self.world, [((other, self.rank, tag), array) for other, array in enumerate(into)])

    def Ibarrier(self) -> Request:
        nothing = [np.empty(0)] * self.world.size
        return self.collective(nothing, nothing)

    def allgather(self, value: Any) -> list[Any]:
        sent, into = np.empty((), object), [np.empty((), object) for _ in range(self.world.size)]
        sent[()] = value
        self.collective([sent] * self.world.size, into).Wait()
        return [array[()] for array in into]

    def Ialltoallv(self, sent: Sequence[Any], received: Sequence[Any]) -> Request:
        (message, (counts, _)), (into, (sizes, _)) = sent, received
        return self.collective(np.split(message, np.cumsum(counts)[:-1]), np.split(into, np.cumsum(sizes)[:-1]))

    def Abort(self, code: int = 1) -> None:
        self.world.ended = True


def run(ranks: int, program: Callable[[Any], Any]) -> list[Any]:
    """Returns what program(comm) returns on each rank, for this many ranks, which run as threads of this process.

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
                world.ended = True

    threads = [threading.Thread(target=begin, args=(rank,), daemon=True) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raised = [error for error in errors if error is not None]
    for error in sorted(raised, key=lambda error: isinstance(error, Ended)):
        raise error
    return results
