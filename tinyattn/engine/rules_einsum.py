"""The derivative of einsum: the same sum, with the gradient in the place of one operand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import tensors_in
from tinyattn.engine.moves import put
from tinyattn.engine.table import joint

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def spelled(*operands: Any) -> tuple[Any, ...]:
    """Returns einsum's operands behind a string; its other form has a list of axis numbers after each operand."""
    if isinstance(operands[0], str):
        return operands
    arrays, axes = operands[: len(operands) // 2 * 2 : 2], operands[1::2]
    words = ["".join("..." if a is Ellipsis else LETTERS[a] for a in part) for part in axes]
    output = "->" + "".join("..." if a is Ellipsis else LETTERS[a] for a in operands[-1]) if len(operands) % 2 else ""
    return (",".join(words) + output, *arrays)


@joint(np.einsum, arrays="operands", prepare=spelled)
def _einsum(*operands: Any, out: Any = None, optimize: Any = False, **kwargs: Any) -> Callable[[Any], Sequence[Any]]:
    subscripts, *operands = operands  # type: ignore[assignment]
    inputs, output = spelled_out(subscripts, operands)
    ours = [i for i, operand in enumerate(operands) if tensors_in([operand])]

    def pull(g: Any) -> Sequence[Any]:
        return [einsum_pull(i, inputs, output, operands, g, optimize) for i in ours]
    return pull


def spelled_out(subscripts: Any, operands: Sequence[Any]) -> tuple[list[str], str]:
    """Returns einsum's subscripts with the output written and the ellipsis as letters."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    free = [c for c in LETTERS if c not in subscripts]
    widths = [o.ndim - len(s.replace("...", "")) for s, o in zip(inputs, operands, strict=True)]
    most = max((w for s, w in zip(inputs, widths, strict=True) if "..." in s), default=0)
    letters = "".join(free[:most])
    inputs = [s.replace("...", letters[most - w :] if w else "") for s, w in zip(inputs, widths, strict=True)]
    if not arrow:
        every = "".join(inputs)
        output = letters + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in letters))
    return inputs, output.replace("...", letters)


def einsum_pull(i: int, inputs: list[str], output: str, operands: Sequence[Any], g: Any, optimize: Any) -> Any:
    """Returns the gradient of operand i: the same sum with g in its place, spread over what it alone folds."""
    mine, shape = inputs[i], operands[i].shape
    others = [s for j, s in enumerate(inputs) if j != i]
    arrays = [o for j, o in enumerate(operands) if j != i]
    unique = "".join(dict.fromkeys(mine))
    sizes = dict(zip(mine, shape, strict=True))
    known = "".join(c for c in unique if c in output or any(c in s for s in others))
    # A stretched axis of 1 is summed here: its letter has another size in g or in the other operands.
    part = np.einsum(",".join([output, *others]) + "->" + known, g, *arrays, optimize=optimize)
    for axis, letter in enumerate(known):
        if part.shape[axis] != sizes[letter]:
            part = np.sum(part, axis=axis, keepdims=True)
    full = tuple(sizes[c] for c in unique)
    part = np.broadcast_to(part.reshape(tuple(sizes[c] if c in known else 1 for c in unique)), full)
    if unique == mine:
        return part
    index = np.indices(full)
    return put(part, tuple(index[unique.index(c)] for c in mine), shape)
