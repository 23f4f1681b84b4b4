"""The rule of einsum: the gradient of an operand is the same sum with `g` in that operand's place."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.moves import put
from tinyattn.engine.table import rule

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def by_letters(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """Returns einsum's subscripts and arrays; its other form has a list of axis numbers behind each array."""
    if isinstance(operands[0], str):
        return operands[0], list(operands[1:])
    words = ["".join("..." if a is Ellipsis else LETTERS[a] for a in axes) for axes in (*operands[1::2], operands[-1])]
    arrays = operands[: len(operands) // 2 * 2 : 2]
    return ",".join(words[:-1]) + (f"->{words[-1]}" if len(operands) % 2 else ""), list(arrays)


def spelled_out(subscripts: Any, operands: Sequence[Any]) -> tuple[list[str], str]:
    """Returns einsum's subscripts with the output written and the ellipsis as letters."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    free = [c for c in LETTERS if c not in subscripts]
    widths = [np.ndim(o) - len(s.replace("...", "")) for s, o in zip(inputs, operands, strict=True)]
    most = max((w for s, w in zip(inputs, widths, strict=True) if "..." in s), default=0)
    letters = "".join(free[:most])
    inputs = [s.replace("...", letters[most - w :] if w else "") for s, w in zip(inputs, widths, strict=True)]
    if not arrow:
        every = "".join(inputs)
        output = letters + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in letters))
    return inputs, output.replace("...", letters)


def _einsum(*operands: Any, optimize: Any = False) -> Callable[[Any, int], Any]:
    listed = not isinstance(operands[0], str)
    subscripts, arrays = by_letters(operands)
    inputs, output = spelled_out(subscripts, arrays)
    return lambda g, place: operand_gradient(place // 2 if listed else place - 1, inputs, output, arrays, g, optimize)


def operand_gradient(i: int, inputs: list[str], output: str, arrays: Sequence[Any], g: Any, optimize: Any) -> Any:
    """Returns the gradient of operand i: the sum with g in its place, spread over the axes that it alone is summed over."""
    mine, shape = inputs[i], np.shape(arrays[i])
    others = [s for j, s in enumerate(inputs) if j != i]
    unique = "".join(dict.fromkeys(mine))
    sizes = dict(zip(mine, shape, strict=True))
    known = "".join(c for c in unique if c in output or any(c in s for s in others))
    # A stretched axis of length 1 is summed here, as its letter has another length in g or in the other operands.
    part = np.einsum(",".join([output, *others]) + "->" + known, g, *arrays[:i], *arrays[i + 1 :], optimize=optimize)
    stretched = tuple(axis for axis, letter in enumerate(known) if part.shape[axis] != sizes[letter])
    part = np.sum(part, axis=stretched, keepdims=True)
    full = tuple(sizes[c] for c in unique)
    part = np.broadcast_to(part.reshape(tuple(sizes[c] if c in known else 1 for c in unique)), full)
    if unique == mine:
        return part
    index = np.indices(full)  # a repeated letter reads a diagonal
    return put(part, tuple(index[unique.index(c)] for c in mine), shape)


rule(np.einsum, _einsum, arrays="operands")
