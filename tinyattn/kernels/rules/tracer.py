"""A rule called once with tracers: what it computes becomes an expression, and what no expression can say is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinyattn.engine.table import KINDS, ROWS
from tinyattn.kernels.rules.expression import K, Node, Q, S, number, operation, ordered
from tinyattn.kernels.rules.functions import compiles
from tinyattn.kernels.rules.same import identity
from tinyattn.ops.score_rule import ScoreRule, failure

WAY_OUT = "the definition, tinyattn.definitions.attention, takes any function of arrays"
# NumPy functions that are not ufuncs and work on each element by itself.
ELEMENTWISE = frozenset({np.where, np.clip, np.sinc, np.nan_to_num, np.isposinf, np.isneginf, np.fix})
# Operations on bools and the names of the same on the compute dtype.
LOGICAL = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor", "invert": "logical_not"}
OF_BOOLS = {"multiply": "logical_and", "add": "logical_or", "maximum": "logical_or", "minimum": "logical_and"}
SAME = {"abs": "absolute", "fabs": "absolute", "true_divide": "divide", "float_power": "power", "conjugate": "positive",
        "radians": "deg2rad", "degrees": "rad2deg", "fmod": "fmod"}
# Exponents that belong to the operation, which are products and roots; others are constants of the rule.
EXPONENTS = frozenset({-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0})


# Expressions of rules that were traced, at most; a rule with another constant is another.
MOST = 256


@dataclass(frozen=True, eq=False)
class Traced:
    """A rule as an expression, the values of its constants in their order, and the dtype that it returns.

    `kept` holds what was made of it, by a name: to ask for machine code by the expression's text takes as long as tracing it.
    """

    root: Node
    constants: tuple[float, ...]
    dtype: Any
    kept: dict[str, Any] = field(default_factory=dict)


KNOWN: dict[Any, Traced] = {}


def refuse(what: str) -> NoReturn:
    """Raises the TypeError of a rule that cannot be compiled."""
    raise TypeError(f"score: the rule {what}; {WAY_OUT}")


class Tracer(NDArrayOperatorsMixin):  # type: ignore[misc]
    """A number of every pair at once, of which only the expression is known."""

    __slots__ = ("constants", "dtype", "node")

    def __init__(self, node: Node, dtype: Any, constants: list[float]) -> None:
        self.node, self.dtype, self.constants = node, dtype, constants

    def made(self, node: Node, dtype: Any) -> Tracer:
        """Returns a tracer of the same rule."""
        return Tracer(node, np.dtype(bool) if node.boolean else dtype, self.constants)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if options.get("out") is not None:
            refuse("writes into an array that it is given; it must return a new one")
        if method != "__call__":
            refuse(f"calls np.{ufunc.__name__}.{method}, which is not elementwise")
        if options:
            refuse(f"calls np.{ufunc.__name__} with {', '.join(options)}, which is not compiled")
        return self.applied(ufunc, inputs)

    def __array_function__(self, function: Any, _types: Any, arguments: Any, options: Any) -> Any:
        if function not in ELEMENTWISE:
            reason = KINDS.get(function, ("", ""))
            refuse(f"calls {named(function)}, which {'has no derivative' if function not in ROWS else 'is not elementwise'}"
                   f"{f' ({reason[1]})' if reason[0] == 'refused' else ''}")
        if function is np.clip:
            low, high = (options.pop(name, None) for name in ("min", "max"))
            rest = dict(zip(("a", "a_min", "a_max"), arguments, strict=False)) | options
            arguments, options = (rest.pop("a"), rest.pop("a_min", low), rest.pop("a_max", high)), rest
        if options or (function is np.where and len(arguments) != 3):
            refuse(f"calls {named(function)} with {', '.join(options) or 'one argument'}, which is not compiled")
        return self.applied(function, arguments)

    def applied(self, function: Any, arguments: Any) -> Any:
        """Returns a function of tracers and numbers as a tracer, by its row of the rule table."""
        row, name = ROWS.get(function), SAME.get(function.__name__, function.__name__)
        nodes, kinds = self.nodes(function, arguments)
        if name in LOGICAL and all(node is not None and node.boolean for node in nodes):
            return self.made(operation(LOGICAL[name], *nodes), None)
        if name in OF_BOOLS and all(node is not None and node.boolean for node in nodes):
            return self.made(operation(OF_BOOLS[name], *nodes), None)
        kind, reason = KINDS.get(function, ("", ""))
        if row is None or kind == "refused":
            refuse(f"calls {named(function)}, which has no derivative{f' ({reason})' if reason else ''}")
        if (body := getattr(row, "body", None)) is not None:
            return body.function(*arguments)
        if not compiles(name):
            refuse(f"calls {named(function)}, which is not compiled")
        if name == "power" and nodes[1].op == "c" and isinstance(arguments[1], (int, float)) and float(arguments[1]) in EXPONENTS:
            self.constants.pop()
            nodes = (nodes[0], number(float(arguments[1])))
        floats = [x for x in kinds if x is not None]
        with np.errstate(all="ignore"):
            dtype = np.result_type(*floats) if floats else self.dtype
        return self.made(operation(name, *nodes), np.dtype(np.float64) if dtype.kind != "f" else dtype)

    def nodes(self, function: Any, arguments: Any) -> tuple[tuple[Any, ...], list[Any]]:
        """Returns the node of each argument, and what decides the dtype of the result."""
        found: list[Any] = []
        kinds: list[Any] = []
        for n, x in enumerate(arguments):
            condition = function is np.where and n == 0
            if x is None and function is np.clip:
                found.append(None)
            elif isinstance(x, Tracer):
                found.append(x.node)
                kinds.append(None if condition or x.node.boolean else x.dtype)
            elif isinstance(x, (bool, np.bool_)):
                found.append(number(x))
            elif isinstance(x, (int, float, np.integer, np.floating)) or (isinstance(x, np.ndarray) and not x.ndim):
                if isinstance(x, np.ndarray) and x.dtype.kind not in "iuf":
                    refuse(f"reads an array of {x.dtype} from outside")
                self.constants.append(float(x))
                found.append(Node("c", value=float(len(self.constants) - 1)))
                kinds.append(x if isinstance(x, (np.generic, np.ndarray)) else type(x)(0) if isinstance(x, (int, float)) else x)
            elif hasattr(x, "shape"):
                refuse(f"reads an array of shape {tuple(x.shape)} from outside; give it as a parameter, ScoreRule(rule, array)")
            else:
                refuse(f"calls {named(function)} with {type(x).__name__}")
        return tuple(found), kinds

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Tracer:
        """Returns the same numbers in another dtype, floating or bool."""
        kind = np.dtype(dtype)
        if kind.kind not in "fb":
            refuse(f"converts to {kind}, which is not compiled")
        if kind.kind == "b" and not self.node.boolean:
            return self.made(operation("not_equal", self.node, number(0.0)), None)
        node = operation("where", self.node, number(1.0), number(0.0)) if kind.kind == "f" and self.node.boolean else self.node
        return self.made(node, kind)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        refuse("makes an array of its arguments, or mixes them with a Tensor from outside; give that as a parameter, "
               "ScoreRule(rule, tensor)")

    def __bool__(self) -> NoReturn:
        refuse("branches on data; np.where chooses for each element")

    def _leave(self, *_: Any) -> NoReturn:
        refuse("makes a Python number of its arguments, as round and functions of math do; NumPy's work on arrays")

    __float__ = __int__ = __index__ = __complex__ = __round__ = _leave

    def _index(self, *_: Any) -> NoReturn:
        refuse("takes or sets elements of its arguments, which is not elementwise")

    __getitem__ = __setitem__ = __iter__ = __len__ = _index

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"uses .{name}, which is not elementwise or not compiled")


def named(function: Any) -> str:
    """Returns the name of a NumPy function as a rule calls it."""
    if not hasattr(function, "__name__"):
        return repr(function)
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module.replace('numpy', 'np', 1)}.{function.__name__}"


def traced(rule: ScoreRule, dtype: Any) -> Traced:
    """Returns the expression of a rule on scores of a dtype, the one that is known where the rule is provably the same.

    Raises:
        TypeError: as `traced_anew`.
    """
    same = identity(rule.function)
    if same is None:
        return traced_anew(rule, dtype)
    key = same, len(rule.parameters), np.dtype(dtype)
    found = KNOWN.get(key)
    if found is None:
        found = traced_anew(rule, dtype)
        if len(KNOWN) >= MOST:
            KNOWN.clear()
        KNOWN[key] = found
    return found


def traced_anew(rule: ScoreRule, dtype: Any) -> Traced:
    """Returns the expression of a rule on scores of a dtype, by calling it.

    Raises:
        TypeError: a rule that is no expression: a branch on data, an unknown function, one without a derivative, an array from
            outside, a result that is not elementwise.
    """
    constants: list[float] = []
    leaves = [S, Q, K, *(Node("p", value=float(n)) for n in range(len(rule.parameters)))]
    try:
        out = rule.function(*(Tracer(leaf, np.dtype(dtype), constants) for leaf in leaves))
    except (TypeError, ValueError) as error:
        raise failure(error, "numbers that stand for all pairs, to be compiled") from error
    if not isinstance(out, Tracer) or out.node.boolean:
        refuse(f"returns {'a bool' if isinstance(out, Tracer) else type(out).__name__}, and not one number for each score")
    used = [int(node.value or 0) for node in ordered([out.node]) if node.op == "c"]
    if len(set(used)) == len(constants):
        return Traced(out.node, tuple(constants), out.dtype)
    return renumbered(out.node, used, constants, out.dtype)


def check(score: Any) -> None:
    """Raises TypeError for a rule that is no expression; what is no rule at all is left for the definition to refuse."""
    if isinstance(score, ScoreRule) or callable(score):
        rule = score if isinstance(score, ScoreRule) else ScoreRule(score)
        traced(rule, np.float64)


def renumbered(root: Node, used: list[int], constants: list[float], dtype: Any) -> Traced:
    """Returns the expression with the constants that it uses numbered from 0: others may have been computed with, and left out."""
    places = {number_: n for n, number_ in enumerate(sorted(set(used)))}
    made: dict[int, Node] = {}
    for node in ordered([root]):
        value = float(places[int(node.value or 0)]) if node.op == "c" else node.value
        made[id(node)] = Node(node.op, tuple(None if a is None else made[id(a)] for a in node.arguments), value, node.boolean)
    return Traced(made[id(root)], tuple(constants[n] for n in sorted(places)), dtype)
