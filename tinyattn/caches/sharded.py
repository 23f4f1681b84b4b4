"""A cache whose tokens are spread over the ranks of a communicator; a step attends to all of them along a tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import check_comm
from tinyattn.parallel.layout import Layout
from tinyattn.parallel.tree import tree_attention


class ShardedCache:
    """Keys and values of one sequence over many ranks: the ranks take turns to keep a block of `block` tokens.

    Every rank gives the same chunk to `step` and gets the same rows, the same bits, back.

    >>> from tinyattn.parallel import threads
    >>> x = np.ones((1, 3, 2))
    >>> threads.run(2, lambda comm: ShardedCache(comm, block=2).step(x, x, x).shape)
    [(1, 3, 2), (1, 3, 2)]
    """

    def __init__(self, comm: Any, *, block: int = 256) -> None:
        check_comm(comm)
        self.comm, self.block = comm, whole("block", block, 1)
        self.length = 0
        self.held: tuple[list[Array], list[Array]] = ([], [])

    def layout(self, length: int) -> Layout:
        """Returns which rank keeps which of this number of tokens."""
        starts, ranks = range(0, length, self.block), self.comm.Get_size()
        return Layout(length, tuple(tuple((a, min(a + self.block, length)) for a in starts[rank::ranks]) for rank in range(ranks)))

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends the keys and values of a chunk, each on its rank, and returns what its queries read; causal, as with every cache."""
        rank, new = self.comm.Get_rank(), k.shape[-2]
        layout = self.layout(self.length + new)
        mine = layout.positions(rank)
        mine = mine[mine >= self.length] - self.length
        held = tuple([*parts, x[..., mine, :]] for parts, x in zip(self.held, (k, v), strict=True))
        keys, values = (np.concatenate(parts, axis=-2) for parts in held)
        out = tree_attention(q, keys, values, self.comm, layout, causal=True, **options)
        self.held, self.length = ([keys], [values]), layout.length
        return out

    @property
    def capacity(self) -> None:
        """None: it grows with its tokens."""
        return None

    @property
    def nbytes(self) -> int:
        """The bytes of the tokens that this rank keeps."""
        return sum(x.nbytes for parts in self.held for x in parts)
