"""Rules as the kernels call them: prepared before a call, and applied to one tile through the address of their code."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyattn.kernels.rules.code import KEY, PAIR, QUERY, SAME, code_of, code_of_slopes, function_type
from tinyattn.kernels.rules.expression import Node, ordered
from tinyattn.kernels.rules.slopes import slopes
from tinyattn.kernels.rules.tracer import traced
from tinyattn.kernels.tiles.jit import DISABLED, inlined
from tinyattn.kernels.tiles.lanes import VECTOR_BYTES
from tinyattn.ops.score_rule import KEEPS, ScoreRule, with_parts
from tinyattn.ops.types import Array

# What is read behind the end of an array of numbers per query: a register at most, of the smallest dtype.
SPARE = VECTOR_BYTES // 4
# Copies of the gradients of a number per pair.
FEW = 2
# Without the JIT: the expressions by numbers that stand for addresses.
PLAIN: list[tuple[list[Node], str]] = [([], "")]


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
    root, constants = expression_of(rule, dtype)
    made = placed(rule, root, constants, full, dtype)
    leaves = {node.value: node for node in ordered([root]) if node.op == "p"}
    wanted = [next((node for node in ordered([root]) if node.op == "s"), Node("s")),
              *(leaves.get(float(n), Node("p", value=float(n))) for n in range(len(made.kinds)))]
    with np.errstate(all="ignore"):
        pulled = slopes(root, wanted, dtype)
    if DISABLED:
        PLAIN.append((pulled, made.kinds))
        return replace(made, backward=len(PLAIN) - 1)
    return replace(made, backward=code_of_slopes(pulled, made.kinds, np.dtype(dtype).itemsize))


def compiled_forward(rule: ScoreRule, full: tuple[int, ...], dtype: Any) -> Compiled:
    """Returns what `compiled_rule` does, without derivatives: half the time, where no gradient is asked for.

    Raises:
        TypeError: as `expression_of`.
    """
    return placed(rule, *expression_of(rule, dtype), full, dtype)


def placed(rule: ScoreRule, root: Node, constants: tuple[float, ...], full: tuple[int, ...], dtype: Any) -> Compiled:
    """Returns the rule of an expression, compiled forward, for calls of this shape."""
    stands = [stand(x.shape, full) for x in rule.parameters]
    bases = np.cumsum([0, *(x.size for x in rule.parameters)])
    starts = np.array([start + base for (start, _, _), base in zip(stands, bases, strict=False)], np.int64).reshape(-1)
    steps = np.array([(row, column) for _, row, column in stands], np.int64).reshape(-1)
    kinds = "".join(PAIR if row and column else QUERY if row else KEY if column else SAME for _, row, column in stands)
    with np.errstate(all="ignore"):
        numbers = np.array([*constants, 0.0], dtype)
    places = rule.positions or (np.arange(0), np.arange(0))
    q_at, kv_at = (np.concatenate((x, np.zeros(SPARE, x.dtype))).astype(dtype) for x in places)
    if DISABLED:
        PLAIN.append(([root], kinds))
        code = len(PLAIN) - 1
    else:
        code = code_of(root, kinds, np.dtype(dtype).itemsize)
    return Compiled(rule, code, 0, kinds, starts, steps, numbers, q_at, kv_at)


def expression_of(rule: ScoreRule, dtype: Any) -> tuple[Node, tuple[float, ...]]:
    """Returns a rule as an expression, and its constants.

    Raises:
        TypeError: a rule that cannot be traced, or returns another dtype.
    """
    root, constants, given = traced(rule, dtype)
    if given != dtype:
        raise TypeError(f"score: expected the rule to return the dtype of s, {np.dtype(dtype)}, got {given}; {KEEPS}")
    return root, constants


def stand(shape: tuple[int, ...], full: tuple[int, ...]) -> tuple[Array, int, int]:
    """Returns where an array of a shape has the elements of each head of the full shape, and its steps along queries and keys."""
    *lead, rows, width = (1,) * (len(full) - len(shape)) + tuple(shape)
    start = np.arange(math.prod(lead)).reshape(lead) * (rows * width)
    return np.broadcast_to(start, full[:-2]).flatten(), width if rows > 1 else 0, 1 if width > 1 else 0


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


def in_numpy(address: int, s: Any, keys: int, rows: int, width: int, i: Any, j: Any, values: Any, at: Any, steps: Any, constants: Any,
             d: Any = None) -> tuple[Any, list[Any], list[Any]]:
    """Returns a tile of scores, what the expressions give for it, and where each parameter of it stands; nothing is compiled."""
    roots, kinds = PLAIN[address]
    tile = s[: keys * width].reshape(keys, width)[:, :rows]
    key, query = np.arange(keys)[:, None], np.arange(rows)
    stands = [at[n] + key * steps[2 * n + 1] + query * steps[2 * n] for n in range(len(kinds))]
    leaves = {"s": tile.copy(), "i": i[:rows] + 0 * tile, "j": j[:keys, None] + 0 * tile, "d": d}
    known: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for node in ordered(roots):
            if node.op in leaves:
                known[id(node)] = leaves[node.op]
            elif node.op in "pcn":
                value = node.value or 0.0
                known[id(node)] = (values[stands[int(value)]] if node.op == "p" else constants[int(value)] if node.op == "c"
                                   else bool(value) if node.boolean else s.dtype.type(value))
            else:
                known[id(node)] = getattr(np, node.op)(*[None if a is None else known[id(a)] for a in node.arguments])
    return tile, [np.broadcast_to(known[id(root)], tile.shape) for root in roots], stands


def forward_in_numpy(address: int, s: Any, *rest: Any) -> None:
    """Does what the compiled code of a rule does."""
    tile, (out,), _ = in_numpy(address, s, *rest)
    tile[:] = out


def backward_in_numpy(address: int, d: Any, s: Any, keys: int, rows: int, width: int, i: Any, j: Any, values: Any, at: Any, steps: Any,
                      constants: Any, d_values: Any) -> None:
    """Does what the compiled code of the derivatives does."""
    arriving = d[: keys * width].reshape(keys, width)[:, :rows]
    before = arriving.copy()
    _, outs, stands = in_numpy(address, s, keys, rows, width, i, j, values, at, steps, constants, before)
    outs = [np.where(before != 0, out, 0) for out in outs]
    arriving[:] = outs[0]
    for out, where in zip(outs[1:], stands, strict=True):
        np.add.at(d_values, where, out)


call_rule = forward_in_numpy if DISABLED else intrinsic(forward_typed)
call_slopes = backward_in_numpy if DISABLED else intrinsic(backward_typed)


@inlined
def stand_at(at, head, i0, j0, heads, starts, steps):
    """Fills `at` with where the parameters of a tile's first pair stand."""
    for n in range(len(at)):
        at[n] = starts[n * heads + head] + i0 * steps[2 * n] + j0 * steps[2 * n + 1]
