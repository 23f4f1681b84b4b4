"""Derivatives of products and of what solves them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import tensors_in
from tinyattn.engine.moves import put, solve_rows
from tinyattn.engine.rules_reduce import safe_sqrt
from tinyattn.engine.table import composed, joint, rule


def _left(a: Any, b: Any) -> Callable[[Any], Any]:
    if b.ndim == 1:
        return lambda g: np.expand_dims(g, -1) * b if a.ndim > 1 else g * b
    if a.ndim == 1:
        return lambda g: np.sum(np.expand_dims(g, -2) * b, axis=-1)
    return lambda g: g @ np.swapaxes(b, -1, -2)


def _right(a: Any, b: Any) -> Callable[[Any], Any]:
    shape = b.shape
    if b.ndim == 1:
        return lambda g: np.expand_dims(g, -1) * a if a.ndim > 1 else g * a
    if a.ndim == 1:
        return lambda g: np.expand_dims(a, -1) * np.expand_dims(g, -2)
    if b.ndim == 2:
        # One product over all rows, not one a leading index and a sum of them.
        rows = math.prod(a.shape[:-1])
        return lambda g: np.swapaxes(a.reshape(rows, shape[0]), 0, 1) @ g.reshape(rows, shape[1])
    return lambda g: np.swapaxes(a, -1, -2) @ g


rule(np.matmul, _left, _right)
rule(np.vecdot, lambda a, b, axis=-1: lambda g: np.expand_dims(g, axis) * b,
                lambda a, b, axis=-1: lambda g: np.expand_dims(g, axis) * a)
rule(np.linalg.inv, lambda out, a: lambda g: -(np.swapaxes(out, -1, -2) @ g @ np.swapaxes(out, -1, -2)))
rule(np.linalg.det, lambda out, a: lambda g: np.expand_dims(g * out, (-1, -2)) * np.swapaxes(np.linalg.inv(a), -1, -2))


@composed(np.linalg.solve)
def _solve(a: Any, b: Any) -> Any:
    return solve_rows(a, b) if b.ndim > 1 else solve_rows(a, np.expand_dims(b, -1))[..., 0]


@joint(np.einsum)
def _einsum(subscripts: Any, *operands: Any, optimize: Any = False, **_: Any) -> Callable[[Any], Sequence[Any]]:
    inputs, output = spelled_out(subscripts, operands)
    ours = [i for i, operand in enumerate(operands) if tensors_in([operand])]

    def pull(g: Any) -> Sequence[Any]:
        return [einsum_pull(i, inputs, output, operands, g, optimize) for i in ours]
    return pull


def spelled_out(subscripts: Any, operands: Sequence[Any]) -> tuple[list[str], str]:
    """Returns einsum's subscripts with the output written and the ellipsis as letters."""
    if not isinstance(subscripts, str):
        raise TypeError("np.einsum has no gradient in its list form; write the subscripts as a string")
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in subscripts]
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


@composed(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    if isinstance(axes, int):
        first, second = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        first, second = [[x] if isinstance(x, int) else list(x) for x in axes]
    first, second = [x % a.ndim for x in first], [x % b.ndim for x in second]
    rest_a, rest_b = [x for x in range(a.ndim) if x not in first], [x for x in range(b.ndim) if x not in second]
    width = int(np.prod([a.shape[x] for x in first]))
    rows = np.transpose(a, rest_a + first).reshape(-1, width)
    columns = np.transpose(b, second + rest_b).reshape(width, -1)
    return (rows @ columns).reshape(tuple(a.shape[x] for x in rest_a) + tuple(b.shape[x] for x in rest_b))


@composed(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    return np.tensordot(a, b, axes=((a.ndim - 1,), (max(b.ndim - 2, 0),)))


composed(np.inner)(lambda a, b: a * b if np.ndim(a) == 0 or np.ndim(b) == 0 else np.tensordot(a, b, axes=((-1,), (-1,))))
composed(np.vdot)(lambda a, b: np.sum(a.reshape(-1) * b.reshape(-1)))
composed(np.outer)(lambda a, b, out=None: a.reshape(-1, 1) * b.reshape(1, -1))
composed(np.linalg.outer)(lambda a, b: a.reshape(-1, 1) * b.reshape(1, -1))
composed(np.linalg.matmul)(lambda a, b: a @ b)
composed(np.linalg.vecdot)(lambda a, b, axis=-1: np.sum(a * b, axis=axis))
composed(np.linalg.tensordot)(lambda a, b, axes=2: np.tensordot(a, b, axes))
composed(np.linalg.matrix_transpose)(lambda x: np.swapaxes(x, -1, -2))
if hasattr(np, "matvec"):
    composed(np.matvec)(lambda a, b: (a @ np.expand_dims(b, -1))[..., 0])
    composed(np.vecmat)(lambda a, b: (np.expand_dims(a, -2) @ b)[..., 0, :])


@composed(np.kron)
def _kron(a: Any, b: Any) -> Any:
    ndim = max(a.ndim, b.ndim)
    a, b = a.reshape((1,) * (ndim - a.ndim) + a.shape), b.reshape((1,) * (ndim - b.ndim) + b.shape)
    pairs = np.expand_dims(a, tuple(range(1, 2 * ndim, 2))) * np.expand_dims(b, tuple(range(0, 2 * ndim, 2)))
    return pairs.reshape(tuple(x * y for x, y in zip(a.shape, b.shape, strict=True)))


@composed(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord is None or (ord == "fro" and (axis is None or isinstance(axis, tuple))) or (
            ord == 2 and (isinstance(axis, int) or (axis is None and x.ndim == 1))):
        return safe_sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    if isinstance(axis, tuple) or (axis is None and x.ndim != 1):
        raise TypeError(f"np.linalg.norm has a gradient for matrices with ord=None or 'fro', not {ord!r}")
    if ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == 1:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    if not isinstance(ord, (int, float)) or ord == 0:
        raise TypeError(f"np.linalg.norm has no gradient with ord={ord!r}")
    return np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1.0 / ord)


composed(np.linalg.vector_norm)(lambda x, /, *, axis=None, keepdims=False, ord=2: np.linalg.norm(
    x.reshape(-1) if axis is None else x, ord, 0 if axis is None else axis, keepdims))
