"""How a backward is shared out: into tasks, slots that do tasks in order, and copies of a learned bias's gradient."""

from __future__ import annotations

import math
from typing import NamedTuple

from tinyattn.kernels.tiles.storage import Sizes

# Tasks of a backward: enough to share, few enough that the copies of d_k and d_v stay small. Fixed, so that the sums
# are taken in one order whatever the machine.
TASKS = 8


class Shares(NamedTuple):
    """The parts of each kv head's query tiles, the slots that threads take, and the copies of the gradient of the bias."""

    splits: int
    slots: int
    copies: int


def shares_of(sizes: Sizes, beside: int, *, adds: bool, bias: tuple[int, ...] | None, full: tuple[int, ...]) -> Shares:
    """Returns how a call is shared out, one of `beside` calls at a time.

    `adds` is whether tasks add to gradients of parameters of a rule, of which each slot has a copy, and `bias` the shape of a
    bias that wants a gradient. One copy of that is enough where heads share no element: a slot then does a head's tasks of all
    texts. Otherwise each slot has a copy.
    """
    heads, groups = sizes.batch * sizes.kv_heads, sizes.heads // max(sizes.kv_heads, 1)
    own = 0 if bias is None or adds else heads_of_its_own(bias, full) // groups
    blocks = -(-sizes.q_len // sizes.q_tile) * groups
    splits = max(1, min(-(-TASKS // max(own or heads * beside, 1)), blocks))
    if own:
        return Shares(splits, own * splits, 1)
    slots = min(heads * splits, TASKS) if adds or bias is not None else heads * splits
    return Shares(splits, slots, 0 if bias is None else slots)


def heads_of_its_own(bias: tuple[int, ...], full: tuple[int, ...]) -> int:
    """Returns how many heads, one after the other, share no element of a bias of this shape; 0 if queries or keys share some too.

    >>> heads_of_its_own((4, 9, 9), (2, 4, 9, 9)), heads_of_its_own((2, 4, 9, 9), (2, 4, 9, 9)), heads_of_its_own((9, 9), (2, 4, 9, 9))
    (4, 8, 0)
    """
    first = next((axis for axis in range(len(full) - 2) if bias[axis - len(full) :] == full[axis:]), None)
    return 0 if first is None else math.prod(full[first:-2])
