"""Rules as the kernels call them: prepared before a call, and applied to one tile through the address of their code."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyattn.kernels.rules.code import KEY, PAIR, QUERY, SAME, code_of, function_type
from tinyattn.kernels.rules.expression import Node, ordered
from tinyattn.kernels.rules.slopes import slopes
from tinyattn.kernels.rules.tracer import Traced, traced
from tinyattn.kernels.rules.uncompiled import backward_in_numpy, forward_in_numpy, plain
from tinyattn.kernels.tiles.jit import DISABLED, inlined
from tinyattn.kernels.tiles.lanes import VECTOR_BYTES
from tinyattn.ops.score_rule import ScoreRule, other_dtype, with_parts
from tinyattn.ops.types import Array

# What is read behind the end of an array of numbers per query: a register at most, of the smallest dtype.
SPARE = VECTOR_BYTES // 4
# Copies of the gradients of a number per pair.
FEW = 2


@dataclass(frozen=True, eq=False)
class Compiled:
    """A rule for one call: addresses of its code, how and where each parameter stands, its constants, and the positions.

    The parameters stand one after the other in one array: element (b, h, i, j) of parameter n is at starts[n, b heads + h] +
    i steps[n, 0] + j steps[n, 1].
    """

    rule: ScoreRule
    forward: int
    backward: int
    kinds: str
    starts: Array
    steps: Array
    constants: Array
    q_positions: Array
    kv_positions: Array

    @property
    def per_pair(self) -> bool:
        """Whether every parameter has a number per query and key: then none is read behind the end of their array."""
        return self.steps.size > 0 and bool((self.steps > 0).all())

    def copies(self, slots: int) -> tuple[int, int]:
        """Returns in how many slots the gradients of the parameters are added up, at most this many, and in how many copies of them.

        Of numbers per pair that no two heads share, no two tiles add to the same one, and one copy serves all slots. Shared ones
        have few slots, as each copy is a square array.
        """
        if not self.starts.size or (self.per_pair and len(np.unique(self.starts)) == len(self.starts)):
            return slots, 1
        slots = min(slots, FEW) if self.steps.reshape(-1, 2).all(axis=1).any() else slots
        return slots, slots

    def of(self, values: Array) -> ScoreRule:
        """Returns the rule with its parameters out of one array of all, as `flat` makes it."""
        cuts = np.cumsum([0, *(x.size for x in self.rule.parameters)])
        parts = iter([values[a:b].reshape(x.shape) for a, b, x in zip(cuts, cuts[1:], self.rule.parameters, strict=False)])
        return with_parts(self.rule, lambda _: next(parts))


def arguments_of(rule: Compiled | None, values: Array | None, dtype: Any, *, backward: bool = False) -> tuple[Any, ...]:
    """Returns what the kernels read of a rule, in their order; without a rule the address is 0 and no array has elements."""
    if rule is None or values is None:
        whole, none = np.zeros(0, np.int64), np.zeros(0, dtype)
        return (0, *((0,) if backward else ()), none, whole, whole, none, none, none)
    held = np.require(values, requirements=["C", "W"]) if rule.per_pair else np.concatenate((values, np.zeros(SPARE, dtype)))
    return (rule.forward, *((rule.backward,) if backward else ()), held, rule.starts,
            rule.steps, rule.constants, rule.q_positions, rule.kv_positions)


def compiled_rule(rule: ScoreRule, full: tuple[int, ...], dtype: Any) -> Compiled:
    """Returns a rule, which knows its positions, compiled for calls of this shape.

    Raises:
        TypeError: as `expression_of`.
    """
    made = expression_of(rule, dtype)
    starts, steps, kinds = stands(tuple(x.shape for x in rule.parameters), full[:-2])
    places = rule.positions or (np.arange(0), np.arange(0))
    q_at, kv_at = (np.concatenate((x, np.zeros(SPARE, x.dtype))).astype(dtype) for x in places)
    return Compiled(rule, forward_code(made, kinds, dtype), backward_code(made, kinds, dtype), kinds, starts, steps,
                    constants_of(made, dtype), q_at, kv_at)


def forward_code(made: Traced, kinds: str, dtype: Any) -> int:
    """Returns the address of a rule's code, for parameters of these kinds."""
    if DISABLED:
        return plain(made, [made.root], kinds, "rule")
    return code_of([made.root], kinds, np.dtype(dtype).itemsize, made.kept)


def backward_code(made: Traced, kinds: str, dtype: Any) -> int:
    """Returns the address of the code of a rule's derivatives."""
    if "slopes" not in made.kept:
        order = ordered([made.root])
        leaves = {node.value: node for node in order if node.op == "p"}
        wanted = [next((node for node in order if node.op == "s"), Node("s")),
                  *(leaves.get(float(n), Node("p", value=float(n))) for n in range(len(kinds)))]
        with np.errstate(all="ignore"):
            made.kept["slopes"] = slopes(made.root, wanted, dtype)
    pulled = made.kept["slopes"]
    if DISABLED:
        return plain(made, pulled, kinds, "slopes")
    return code_of(pulled, kinds, np.dtype(dtype).itemsize, made.kept, backward=True)


def constants_of(made: Traced, dtype: Any) -> Array:
    """Returns the constants of a rule, and one more number, so that there is an array."""
    if "constants" not in made.kept:
        with np.errstate(all="ignore"):
            made.kept["constants"] = np.array([*made.constants, 0.0], dtype)
    found: Array = made.kept["constants"]
    return found


def expression_of(rule: ScoreRule, dtype: Any) -> Traced:
    """Returns a rule as an expression.

    Raises:
        TypeError: a rule that cannot be traced, or returns another dtype.
    """
    made = traced(rule, dtype)
    if made.dtype != dtype:
        raise other_dtype(np.dtype(dtype), made.dtype)
    return made


@lru_cache(64)
def stands(shapes: tuple[tuple[int, ...], ...], lead: tuple[int, ...]) -> tuple[Array, Array, str]:
    """Returns where parameters of these shapes, one after the other, have those of each head, their steps, and their kinds.

    The kernels read the arrays, and nothing writes to them: a step of decoding asks for the same ones every time.
    """
    found = [stand(shape, lead) for shape in shapes]
    bases = np.cumsum([0, *map(math.prod, shapes)])
    starts = np.array([start + base for (start, _, _), base in zip(found, bases, strict=False)], np.int64).reshape(-1)
    steps = np.array([(row, column) for _, row, column in found], np.int64).reshape(-1)
    return starts, steps, "".join(PAIR if row and column else QUERY if row else KEY if column else SAME for _, row, column in found)


def stand(shape: tuple[int, ...], heads: tuple[int, ...]) -> tuple[Array, int, int]:
    """Returns where an array of a shape has the elements of each of (..., heads), and its steps along queries and keys."""
    *lead, rows, width = (1,) * (len(heads) + 2 - len(shape)) + tuple(shape)
    start = np.arange(math.prod(lead)).reshape(lead) * (rows * width)
    return np.broadcast_to(start, heads).flatten(), width if rows > 1 else 0, 1 if width > 1 else 0


def flat(rule: ScoreRule, dtype: Any) -> Array:
    """Returns the parameters of a rule one after the other, with gradients."""
    if len(rule.parameters) == 1:
        return rule.parameters[0].reshape(-1)
    return np.concatenate([x.reshape(-1) for x in rule.parameters]) if rule.parameters else np.zeros(0, dtype)


def call(*, backward: bool) -> Callable[..., Any]:
    """Returns the intrinsic that calls the code at an address, with the arrays from the tile's own elements on."""
    def typed(_context: Any, address: Any, *kinds: Any) -> Any:
        arrays = [kind for kind in kinds if isinstance(kind, types.Array)]
        element = ir.FloatType() if arrays[0].dtype.bitwidth == 32 else ir.DoubleType()

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            where, *rest = arguments
            given = [context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
                     for kind, value in zip(kinds, rest, strict=True)]
            builder.call(builder.inttoptr(where, function_type(element, backward=backward).as_pointer()), given)
            return context.get_dummy_value()

        return types.void(address, *kinds), generate

    return typed


def forward_typed(context, address, s, keys, rows, width, i, j, values, at, steps, constants):
    """Returns the intrinsic that applies a rule to a tile."""
    return call(backward=False)(context, address, s, keys, rows, width, i, j, values, at, steps, constants)


def backward_typed(context, address, d, s, keys, rows, width, i, j, values, at, steps, constants, d_values):
    """Returns the intrinsic that applies the derivatives of a rule to a tile."""
    return call(backward=True)(context, address, d, s, keys, rows, width, i, j, values, at, steps, constants, d_values)


call_rule = forward_in_numpy if DISABLED else intrinsic(forward_typed)
call_slopes = backward_in_numpy if DISABLED else intrinsic(backward_typed)


@inlined
def stand_at(at, head, i0, j0, heads, starts, steps):
    """Fills `at` with where the parameters of a tile's first pair stand."""
    for n in range(len(at)):
        at[n] = starts[n * heads + head] + i0 * steps[2 * n] + j0 * steps[2 * n + 1]
