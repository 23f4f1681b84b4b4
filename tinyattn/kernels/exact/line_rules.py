"""A score rule as the kernels of decoding apply it: to all heads of a group at once, whose queries stand in one register."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.rules.tiles import arguments_of, compiled_forward, flat
from tinyattn.ops.score_rule import ScoreRule, with_parts
from tinyattn.ops.types import Array

NOWHERE = np.arange(0)


def of_lines(rule: ScoreRule | None, full: tuple[int, ...], kv_heads: int, dtype: Any) -> tuple[Any, ...]:
    """Returns what the kernels read of a rule for scores of the full shape: its address, parameters, their places and constants.

    Raises:
        TypeError: a rule that cannot be compiled.
    """
    if rule is None:
        return arguments_of(None, None, dtype)[:5]
    *lead, heads, q_len, kv_len = full
    # The kernels count the positions themselves.
    lines = with_parts(rule, lambda x: in_groups(x, heads, kv_heads, q_len), (NOWHERE, NOWHERE))
    made = compiled_forward(lines, (*lead, kv_heads, heads // kv_heads * q_len, kv_len), dtype)
    return arguments_of(made, flat(lines, dtype), dtype)[:5]


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
