"""What the code of a rule does, in NumPy, for when nothing is compiled: numbers stand for addresses."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.rules.expression import Node, ordered
from tinyattn.kernels.rules.tracer import Traced

# The expressions and the kinds of their parameters, by the numbers that stand for addresses.
PLAIN: list[tuple[list[Node], str]] = [([], "")]


def plain(made: Traced, roots: list[Node], kinds: str, name: str) -> int:
    """Returns the number that stands for the address of expressions while nothing is compiled."""
    name = f"{name} {kinds}"
    if name not in made.kept:
        PLAIN.append((roots, kinds))
        made.kept[name] = len(PLAIN) - 1
    found: int = made.kept[name]
    return found


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
