"""Where NumPy's calls with a Tensor arrive, and go on to their row."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.arguments import tensors_in
from tinyattn.engine.call import name_of, no_rule
from tinyattn.engine.table import ROWS

_REDUCTIONS = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min}
_ACCUMULATIONS = {np.add: np.cumsum, np.multiply: np.cumprod}


def apply(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Returns function(*args, **options) by its row."""
    row = ROWS.get(function)
    if row is None:
        position = next((i for i, a in enumerate(args) if tensors_in([a])), 0)
        raise no_rule(function, position)
    if options and options.get("out") is not None:
        raise TypeError(f"{name_of(function)}: out= is never written by or with a Tensor; "
                        f"take the result, or compute on .value")
    return row(args, options)


def apply_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Returns a ufunc call by its row; `np.add.reduce` and its like go to the function that does the same."""
    if "out" in options:
        raise TypeError(f"{name_of(ufunc)}: writing into an array with a Tensor (out=, +=) would cut the graph "
                        f"or change what it needs; use `a = a + t`, or .value")
    if method == "__call__":
        return apply(ufunc, inputs, options)
    if method == "reduce" and ufunc in _REDUCTIONS:
        # Arguments of ufunc.reduce by position: array, axis, dtype, out, keepdims, initial, where.
        named = dict(zip(("axis", "dtype", "out", "keepdims", "initial", "where"), inputs[1:], strict=False))
        given = {"axis": 0, **named, **options}
        return apply(_REDUCTIONS[ufunc], inputs[:1], {name: a for name, a in given.items() if name != "dtype" or a is not None})
    if method == "accumulate" and ufunc in _ACCUMULATIONS:
        return apply(_ACCUMULATIONS[ufunc], inputs, options if len(inputs) > 1 else {"axis": 0, **options})
    raise TypeError(f"np.{ufunc.__name__}.{method} has no gradient with respect to its argument 0; "
                    f"use .value there if none is needed")
