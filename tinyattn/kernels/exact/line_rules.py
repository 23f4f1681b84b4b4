"""A score rule as the kernels of decoding apply it: to all heads of a group at once, whose queries stand in one register."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.rules.tiles import SPARE, arguments_of, constants_of, expression_of, forward_code, stands
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.types import Array


def of_lines(rule: ScoreRule | None, full: tuple[int, ...], kv_heads: int, dtype: Any) -> tuple[Any, ...]:
    """Returns what the kernels read of a rule for scores of the full shape: its address, parameters, their places and constants.

    The kernels count the positions themselves.

    Raises:
        TypeError: a rule that cannot be compiled.
    """
    if rule is None:
        return arguments_of(None, None, dtype)[:5]
    *lead, heads, q_len, _ = full
    made = expression_of(rule, dtype)
    parameters = [in_groups(x, heads, kv_heads, q_len) for x in rule.parameters]
    starts, steps, kinds = stands(tuple(x.shape for x in parameters), (*lead, kv_heads))
    # Behind numbers per query a whole register is read.
    values = np.concatenate([*(x.reshape(-1) for x in parameters), np.zeros(SPARE, dtype)])
    return forward_code(made, kinds, dtype), values, starts, steps, constants_of(made, dtype)


def in_groups(x: Array, heads: int, kv_heads: int, q_len: int) -> Array:
    """Returns a parameter that broadcasts to (..., heads, q_len, kv_len) as one of (..., kv_heads, heads / kv_heads * q_len, kv_len).

    >>> in_groups(np.arange(4.0).reshape(4, 1, 1), 4, 2, 1)[..., 0]
    array([[0., 1.],
           [2., 3.]])
    """
    *lead, own, rows, width = (1,) * (3 - x.ndim) + x.shape
    if own == rows == 1:
        return x
    groups = heads // kv_heads
    each = np.broadcast_to(x.reshape(*lead, own, rows, width), (*lead, groups if own == 1 else heads, q_len, width))
    return each.reshape(*lead, 1 if own == 1 else kv_heads, groups * q_len, width)
