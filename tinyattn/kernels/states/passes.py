"""Walks over a state that stays where it is: read along two vectors, written over, or both, some micro tiles wide.

What is summed over its rows stays in registers: a loop that LLVM generates reads and writes the sums for every row, in three times
the time, and a state that is written over itself number by number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.states.code import Code
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import REGISTERS

# Micro tiles that are walked over side by side, as their sums and what is added to them fill the registers. Measured on 32 heads
# of 128 x 128 with 32 registers: two thirds of the time of one by one.
WIDE = REGISTERS // 8


class Walk(Code):
    """Emits a walk over the rows of a state, some micro tiles wide."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, tiles: int) -> None:
        super().__init__(context, builder, kind)
        self.parts = range(tiles * lanes.VECTORS)

    def sums(self) -> list[ir.Value]:
        """Returns places for a sum per register, 0 at first."""
        return [cgutils.alloca_once_value(self.builder, lanes.constant(self.vector, 0.0)) for _ in self.parts]

    def add(self, total: ir.Value, a: ir.Value, b: ir.Value) -> None:
        """Adds a b to a sum."""
        self.builder.store(lanes.multiply_add(self.builder, a, b, self.builder.load(total)), total)

    def factor(self, numbers: ir.Value, index: ir.Value) -> ir.Value:
        """Returns a register full of one number."""
        return lanes.splat(self.builder, self.builder.load(self.builder.gep(numbers, [index])), self.vector)

    def row(self, start: ir.Value, index: ir.Value, step: ir.Value) -> ir.Value:
        return self.builder.gep(start, [self.builder.mul(index, step)])

    def keep(self, sums: list[ir.Value], place: ir.Value) -> None:
        for part, total in zip(self.parts, sums, strict=True):
            self.store(self.builder.load(total), place, part)


def recalled(tiles: int) -> Callable[..., Any]:
    """Returns the intrinsic that fills the columns of some micro tiles of total with a^T S, and of other with b^T S.

    Two in one walk, as what takes the time is reading the state.
    """
    def typed(_context: Any, state: Any, at: Any, step: Any, rows: Any, a: Any, a_at: Any, b: Any, b_at: Any, total: Any,
              total_at: Any, other: Any, other_at: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            state_, at_, step_, rows_, a_, a_place, b_, b_place, total_, total_place, other_, other_place = arguments
            walk = Walk(context, builder, state, tiles)
            old, first, second = walk.start(state, state_, at_), walk.start(a, a_, a_place), walk.start(b, b_, b_place)
            totals, others = walk.sums(), walk.sums()
            with cgutils.for_range(builder, rows_) as turn:
                by, along, row = walk.factor(first, turn.index), walk.factor(second, turn.index), walk.row(old, turn.index, step_)
                for part in walk.parts:
                    held = walk.load(row, part)
                    walk.add(totals[part], by, held)
                    walk.add(others[part], along, held)
            walk.keep(totals, walk.start(total, total_, total_place))
            walk.keep(others, walk.start(other, other_, other_place))
            return context.get_dummy_value()

        size = types.intp
        return types.void(state, size, size, size, a, size, b, size, total, size, other, size), generate

    return typed


def recalled_in_numpy(tiles: int) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def recall(state: Any, at: int, step: int, rows: int, a: Any, a_at: int, b: Any, b_at: int, total: Any, total_at: int, other: Any,
               other_at: int) -> None:
        wide = np.arange(tiles * lanes.columns(total.itemsize))
        sums = np.zeros((2, len(wide)), total.dtype)
        with np.errstate(all="ignore"):
            for d in range(rows):
                held = state[at + d * step + wide]
                sums[0] += a[a_at + d] * held
                sums[1] += b[b_at + d] * held
        total[total_at + wide], other[other_at + wide] = sums

    return recall


def folded(tiles: int, reads: bool) -> Callable[..., Any]:
    """Returns the intrinsic that fills the columns of some micro tiles of diag(fading) S + k x^T.

    Where it reads, those of total are filled with what the query reads of that. The new state may be written over the old one.
    """
    def typed(_context: Any, after: Any, before: Any, at: Any, step: Any, rows: Any, added: Any, added_at: Any, keys: Any, key_at: Any,
              fading: Any, fading_at: Any, fading_step: Any, queries: Any, query_at: Any, total: Any, total_at: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            after_, before_, at_, step_, rows_, added_, added_place, *others, queries_, query_place, total_, total_place = arguments
            keys_, key_place, fading_, fading_place, down = others
            walk = Walk(context, builder, after, tiles)
            new, old, x = walk.start(after, after_, at_), walk.start(before, before_, at_), walk.start(added, added_, added_place)
            key, factor = walk.start(keys, keys_, key_place), walk.start(fading, fading_, fading_place)
            query, written = walk.start(queries, queries_, query_place), [walk.load(x, part) for part in walk.parts]
            totals = walk.sums() if reads else []
            with cgutils.for_range(builder, rows_) as turn:
                by, along = walk.factor(factor, builder.mul(turn.index, down)), walk.factor(key, turn.index)
                asked = walk.factor(query, turn.index) if reads else None
                row, target = walk.row(old, turn.index, step_), walk.row(new, turn.index, step_)
                for part in walk.parts:
                    held = lanes.multiply_add(builder, by, walk.load(row, part), builder.fmul(along, written[part]))
                    walk.store(held, target, part)
                    if reads:
                        walk.add(totals[part], asked, held)
            if reads:
                walk.keep(totals, walk.start(total, total_, total_place))
            return context.get_dummy_value()

        size = types.intp
        return types.void(after, before, size, size, size, added, size, keys, size, fading, size, size, queries, size, total,
                          size), generate

    return typed


def folded_in_numpy(tiles: int, reads: bool) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def fold(after: Any, before: Any, at: int, step: int, rows: int, added: Any, added_at: int, keys: Any, key_at: int, fading: Any,
             fading_at: int, fading_step: int, queries: Any, query_at: int, total: Any, total_at: int) -> None:
        wide = np.arange(tiles * lanes.columns(total.itemsize))
        sums = np.zeros(len(wide), total.dtype)
        with np.errstate(all="ignore"):
            for d in range(rows):
                place = at + d * step + wide
                after[place] = fading[fading_at + d * fading_step] * before[place] + keys[key_at + d] * added[added_at + wide]
                sums += queries[query_at + d] * after[place]
        if reads:
            total[total_at + wide] = sums

    return fold


recall_columns, recall_wide = (recalled_in_numpy(n) if DISABLED else intrinsic(recalled(n)) for n in (1, WIDE))
fold_columns, fold_wide = (folded_in_numpy(n, True) if DISABLED else intrinsic(folded(n, True)) for n in (1, WIDE))
write_columns, write_wide = (folded_in_numpy(n, False) if DISABLED else intrinsic(folded(n, False)) for n in (1, WIDE))
