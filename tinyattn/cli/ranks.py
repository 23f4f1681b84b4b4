"""Commands that run on many ranks: the communicator of mpiexec, one voice, and one end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from tinyattn.cli import ends
from tinyattn.parallel.agree import agreed

T = TypeVar("T")


def world(option: str = "--parallel") -> Any:
    """Returns the communicator of all ranks; ValueError where mpi4py is not installed.

    Started as plain `python`, a rank that fails would leave the others waiting: then one rank says so.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ValueError(f"{option}: needs mpi4py and an MPI, as pip install mpi4py mpich brings them ({error})") from None
    comm = MPI.COMM_WORLD
    if comm.Get_size() > 1 and comm.Get_rank() == 0 and "mpi4py.run" not in sys.modules:
        ends.say("tinyattn: started without -m mpi4py, an error in one rank leaves the others waiting; "
                 "use mpiexec -n N python -m mpi4py -m tinyattn")
    return comm


def prepared(comm: Any, name: str, prepare: Callable[[], T]) -> T:
    """Returns what `prepare` makes on each rank; what it refuses on any of them is said once, and all ranks end with code 2."""
    def checked() -> tuple[dict[str, Any], T]:
        try:
            return {}, prepare()
        except OSError as error:
            raise ValueError(ends.reason(error)) from None

    try:
        return agreed(comm, checked, name)[0]
    except (TypeError, ValueError) as error:
        if comm.Get_rank() == 0:
            ends.say(" ".join(str(error).split()))
        raise SystemExit(ends.REFUSED) from None
