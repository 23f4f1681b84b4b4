"""The code of a rule for one tile of scores, [key][query], and of its derivatives: a register of queries at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from tinyattn.kernels.rules.expression import Node, lines, ordered
from tinyattn.kernels.rules.functions import BIT, emitted
from tinyattn.kernels.rules.native import address, key_of
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.lanes import INT

DOUBLE = ir.DoubleType()
# How a parameter stands to the pairs of a tile: the same for all, one per query, per key, per pair.
SAME, QUERY, KEY, PAIR = "sqkp"


def function_type(element: ir.Type, *, backward: bool) -> ir.FunctionType:
    """Returns the type of the code of a rule, or of its derivatives.

    The rule: (s, keys, rows, width, i, j, values, at, steps, constants), s being replaced. Its derivatives: (d, s, and the same,
    d_values), d being replaced by the gradient of s, and those of the parameters added to d_values.
    """
    number, whole = element.as_pointer(), INT.as_pointer()
    arguments = [number, INT, INT, INT, number, number, number, whole, whole, number]
    return ir.FunctionType(ir.VoidType(), [number, *arguments, DOUBLE.as_pointer()] if backward else arguments)


def code_of(roots: list[Node], kinds: str, itemsize: int, kept: dict[str, Any], *, backward: bool = False) -> int:
    """Returns the address of the code that replaces each score of a tile by what the rule gives.

    `backward` is that of the code that turns the gradient of what the rule gives into that of s and of the parameters. `kept` is
    what is known of the expression in this dtype: there the name of the code is.
    """
    name = f"{'slopes' if backward else 'rule'} {kinds}"
    if name not in kept:
        kept[name] = key_of("\n".join((name, str(itemsize), *lines(roots))))
    return address(kept[name], lambda: module_of(roots, kinds, itemsize, backward=backward))


def module_of(roots: list[Node], kinds: str, itemsize: int, *, backward: bool) -> ir.Module:
    """Returns the module with the function "rule"."""
    module, element = ir.Module(), ir.FloatType() if itemsize == 4 else ir.DoubleType()
    function = ir.Function(module, function_type(element, backward=backward), "rule")
    builder = ir.IRBuilder(function.append_basic_block())
    Tile(builder, list(function.args), roots, kinds, element, backward=backward).write()
    builder.ret_void()
    return module


class Tile:
    """The loops over a tile: registers of queries outside, keys inside."""

    def __init__(self, builder: ir.IRBuilder, arguments: list[ir.Value], roots: list[Node], kinds: str, element: ir.Type,
                 *, backward: bool) -> None:
        self.b, self.roots, self.kinds, self.backward = builder, roots, kinds, backward
        self.vector = ir.VectorType(element, lanes.VECTOR_BYTES // (4 if isinstance(element, ir.FloatType) else 8))
        self.d = arguments.pop(0) if backward else None
        self.d_values = arguments.pop() if backward else None
        (self.s, self.keys, self.rows, self.width, self.i, self.j, self.values, self.at, self.steps, self.constants) = arguments
        self.order = ordered(roots)
        self.known: dict[int, ir.Value] = {}

    def item(self, array: ir.Value, index: ir.Value) -> ir.Value:
        """Returns one element of an array."""
        return self.b.load(self.b.gep(array, [index]))

    def splat(self, number: ir.Value) -> ir.Value:
        """Returns a register with a number in every lane."""
        return lanes.splat(self.b, number, self.vector)

    def keep(self, op: str, value: float | None, make: Callable[[], ir.Value]) -> None:
        """Keeps the register of every leaf that says so; nothing is written for an absent leaf."""
        leaves = [node for node in self.order if node.op == op and (value is None or node.value == value)]
        if leaves:
            made = make()
            self.known |= {id(node): made for node in leaves}

    def write(self) -> None:
        """Writes the loops."""
        b, count = self.b, self.vector.count
        self.starts = [self.item(self.at, INT(n)) for n in range(len(self.kinds))]
        self.step = [[self.item(self.steps, INT(2 * n + side)) for side in (0, 1)] for n in range(len(self.kinds))]
        for node in self.order:
            if node.op == "c":
                self.known[id(node)] = self.splat(self.item(self.constants, INT(int(node.value or 0))))
            elif node.op == "n":
                kind = ir.VectorType(BIT, count) if node.boolean else self.vector
                self.known[id(node)] = ir.Constant(kind, [int(node.value or 0) if node.boolean else node.value] * count)
        for n, kind in enumerate(self.kinds):
            if kind == SAME:
                self.keep("p", n, lambda n=n: self.splat(self.item(self.values, self.starts[n])))  # type: ignore[misc]
        sums = {n: cgutils.alloca_once_value(b, lanes.constant(self.vector, 0.0)) for n, kind in enumerate(self.kinds)
                if kind in (SAME, QUERY)} if self.backward else {}
        with cgutils.for_range(b, b.sdiv(b.add(self.rows, INT(count - 1)), INT(count))) as part:
            self.queries(b.mul(part.index, INT(count)), sums)
        for n, place in sums.items():
            if self.kinds[n] == SAME:
                self.add(self.starts[n], self.total(b.load(place)))

    def queries(self, first: ir.Value, sums: dict[int, ir.Value]) -> None:
        """Writes what is done for a register of queries, from the query `first` of the tile on."""
        b, count = self.b, self.vector.count
        line = ir.Constant(ir.VectorType(INT, count), list(range(count)))
        self.live = b.icmp_signed("<", line, lanes.splat(b, b.sub(self.rows, first), line.type))
        self.first = first
        self.keep("i", None, lambda: lanes.load(b, b.gep(self.i, [first]), self.vector))
        for n, kind in enumerate(self.kinds):
            if kind == QUERY:
                self.keep("p", n, lambda n=n: lanes.load(  # type: ignore[misc]
                    b, b.gep(self.values, [b.add(self.starts[n], first)]), self.vector))
                if self.backward:
                    b.store(lanes.constant(self.vector, 0.0), sums[n])
        with cgutils.for_range(b, self.keys) as key:
            self.pairs(key.index, sums)
        for n, place in sums.items():
            if self.kinds[n] == QUERY:
                at = b.gep(self.d_values, [b.add(self.starts[n], first)])
                wide = ir.VectorType(DOUBLE, count)
                total = b.load(place)
                total = total if total.type == wide else b.fpext(total, wide)
                lanes.store(b, b.fadd(lanes.load(b, at, wide), total), at)

    def pairs(self, key: ir.Value, sums: dict[int, ir.Value]) -> None:
        """Writes what is done for one key and a register of queries."""
        b = self.b
        place = b.add(b.mul(key, self.width), self.first)
        s_at = b.gep(self.s, [place])
        s = lanes.load(b, s_at, self.vector)
        self.keep("s", None, lambda: s)
        self.keep("j", None, lambda: self.splat(self.item(self.j, key)))
        for n, kind in enumerate(self.kinds):
            if kind == KEY:
                self.keep("p", n, lambda n=n: self.splat(self.item(  # type: ignore[misc]
                    self.values, b.add(self.starts[n], b.mul(key, self.step[n][1])))))
            elif kind == PAIR:
                self.keep("p", n, lambda n=n: self.gathered(n, key))  # type: ignore[misc]
        if not self.backward:
            lanes.store(b, b.select(self.live, self.of(self.roots[0]), s), s_at)
            return
        d_at = b.gep(self.d, [place])
        d = lanes.load(b, d_at, self.vector)
        zero = lanes.constant(self.vector, 0.0)
        # Where no gradient arrives, at a hidden pair first of all, the slope may be infinite or NaN.
        live = b.and_(self.live, b.fcmp_unordered("!=", d, zero))
        self.keep("d", None, lambda: d)
        parts = [b.select(live, self.of(root), zero) for root in self.roots]
        lanes.store(b, parts[0], d_at)
        for n, (kind, part) in enumerate(zip(self.kinds, parts[1:], strict=True)):
            if kind in (SAME, QUERY):
                b.store(b.fadd(b.load(sums[n]), part), sums[n])
            elif kind == KEY:
                self.add(b.add(self.starts[n], b.mul(key, self.step[n][1])), self.total(part))
            else:
                for lane in range(self.vector.count):
                    self.add(self.pair(n, key, lane), b.extract_element(part, ir.IntType(32)(lane)))

    def of(self, root: Node) -> ir.Value:
        """Returns the register of a node, a number in every lane."""
        for node in ordered([root]):
            if node.op == "divide" and node.arguments[1].op == "c":
                # One division before the loops and a product in them, which is four times as fast.
                inverse = self.b.fdiv(lanes.constant(self.vector, 1.0), self.known[id(node.arguments[1])])
                self.known[id(node)] = emitted(self.b, "multiply", [self.known[id(node.arguments[0])], inverse], self.vector)
            elif node.arguments:
                self.known[id(node)] = emitted(self.b, node.op, [None if a is None else self.known[id(a)] for a in node.arguments],
                                               self.vector)
        return self.known[id(root)]

    def pair(self, n: int, key: ir.Value, lane: int) -> ir.Value:
        """Returns where the parameter of a pair stands; for a query after the tile's last one, where that of the last one stands."""
        b = self.b
        query, last = b.add(self.first, INT(lane)), b.sub(self.rows, INT(1))
        query = b.select(b.icmp_signed("<", query, last), query, last)
        row, column = self.step[n]
        return b.add(self.starts[n], b.add(b.mul(query, row), b.mul(key, column)))

    def gathered(self, n: int, key: ir.Value) -> ir.Value:
        """Returns the parameters of one key and a register of queries."""
        out: ir.Value = ir.Constant(self.vector, ir.Undefined)
        for lane in range(self.vector.count):
            out = self.b.insert_element(out, self.item(self.values, self.pair(n, key, lane)), ir.IntType(32)(lane))
        return out

    def total(self, x: ir.Value) -> ir.Value:
        """Returns the sum over the lanes: the upper half is added to the lower one until one lane is left."""
        step = x.type.count // 2
        while step:
            x = self.b.fadd(x, lanes.shuffle(self.b, x, x, [(lane + step) % x.type.count for lane in range(x.type.count)]))
            step //= 2
        return self.b.extract_element(x, ir.IntType(32)(0))

    def add(self, index: ir.Value, number: ir.Value) -> None:
        """Adds a number to the gradient of one parameter, in float64."""
        at = self.b.gep(self.d_values, [index])
        wide: Any = number if number.type == DOUBLE else self.b.fpext(number, DOUBLE)
        self.b.store(self.b.fadd(self.b.load(at), wide), at)
