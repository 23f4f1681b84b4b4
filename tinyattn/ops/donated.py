"""A state that its holder gives away: the mechanism that reads it may write the next state into the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.types import Array


class Donated(np.ndarray):
    """An array whose memory may be written over, with a counter `done`, above 0 as soon as that has begun.

    Whoever writes does so in one call that nothing interrupts, which also counts. Any other function takes the array as it is.
    A copy or a view has no counter.
    """

    done: Array | None = None


def donated(state: Array, done: Array) -> Donated:
    """Returns a state that the caller gives away, with its counter.

    >>> counter_of(donated(np.ones((2, 3)), np.zeros(1, np.int64)))
    array([0])
    """
    given = state.view(Donated)
    given.done = done
    return given


def counter_of(state: Any) -> Array | None:
    """Returns the counter of a donated state; None for any other array, and for a copy, such as a walk back keeps.

    >>> counter_of(donated(np.ones((2, 3)), np.zeros(1, np.int64)).copy()) is None
    True
    """
    given = isinstance(state, Donated) and state.done is not None and state.flags.c_contiguous and state.flags.writeable
    return state.done if given else None
