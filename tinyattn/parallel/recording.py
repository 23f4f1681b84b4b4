"""A communicator that records what is sent and when, so that tests can check the order, bytes and messages of a scheme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A call: its kind ("send", "receive", "test", "wait", "exchange"), the other rank or None, and the bytes sent or received."""

    what: str
    other: int | None = None
    size: int = 0


class Recording:
    """A communicator that passes every call on and keeps it in `events`; bytes that a rank sends to itself are not counted.

    The first collective, in which all ranks agree on their arguments, is not recorded.

    >>> from tinyattn.parallel import contiguous, ring_attention, threads
    >>> import numpy as np
    >>> def program(comm):
    ...     x, recorded = np.zeros((1, 2, 4), np.float32), Recording(comm)
    ...     ring_attention(x, x, x, recorded, contiguous(4, 2))
    ...     return recorded.sent, recorded.messages
    >>> threads.run(2, program)
    [(64, 2), (64, 2)]
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.events: list[Event] = []

    @property
    def sent(self) -> int:
        """The bytes that this rank has sent to others."""
        return sum(event.size for event in self.events if event.what in ("send", "exchange"))

    @property
    def messages(self) -> int:
        """How many messages this rank has sent to others."""
        ranks = self.comm.Get_size() - 1
        return sum({"send": 1, "exchange": ranks}.get(event.what, 0) for event in self.events)

    def Get_rank(self) -> int:
        return int(self.comm.Get_rank())

    def Get_size(self) -> int:
        return int(self.comm.Get_size())

    def Ibarrier(self) -> Any:
        return self.comm.Ibarrier()

    def allgather(self, value: Any) -> list[Any]:
        gathered: list[Any] = self.comm.allgather(value)
        return gathered

    def Abort(self, code: int = 1) -> None:
        self.comm.Abort(code)

    def Isend(self, message: Any, dest: int, tag: int = 0) -> Any:
        self.events.append(Event("send", dest, message.nbytes))
        return Noted(self, self.comm.Isend(message, dest=dest, tag=tag), dest)

    def Irecv(self, into: Any, source: int, tag: int = 0) -> Any:
        self.events.append(Event("receive", source, into.nbytes))
        return Noted(self, self.comm.Irecv(into, source=source, tag=tag), source)

    def Ialltoallv(self, sent: Sequence[Any], received: Sequence[Any]) -> Any:
        counts = sent[1][0]
        self.events.append(Event("exchange", None, sum(counts) - counts[self.Get_rank()]))
        return self.comm.Ialltoallv(sent, received)


class Noted:
    """A request whose tests and waits are noted."""

    def __init__(self, recording: Recording, request: Any, other: int) -> None:
        self.recording, self.request, self.other = recording, request, other

    def Test(self) -> Any:
        self.recording.events.append(Event("test", self.other))
        return self.request.Test()

    def Wait(self) -> None:
        self.recording.events.append(Event("wait", self.other))
        self.request.Wait()
