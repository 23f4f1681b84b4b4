"""The levels of log-linear attention: a token's past in segments whose lengths are powers of two, as in a Fenwick tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import index_array, is_int, whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.linear_options import one_state
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


def levels_of(length: int) -> int:
    """Returns how many levels the tokens of a text of this length have: 1 + ceil(log2 length), and 1 for an empty text.

    >>> [levels_of(length) for length in (0, 1, 2, 3, 4, 5)]
    [1, 1, 2, 3, 3, 4]
    """
    return 1 + max(0, length - 1).bit_length()


def level_between(i: int, j: int) -> int:
    """Returns the level on which token i sees token j: 0 for itself, else 1 + the highest bit in which i and j differ.

    >>> [level_between(5, j) for j in range(6)]
    [3, 3, 3, 3, 1, 0]
    """
    return (i ^ j).bit_length()


def closed_before(t: int) -> int:
    """Returns how many of the lowest levels are added into the next one before token t.

    It is 1 + the number of zeros at the end of t in binary.

    >>> [closed_before(t) for t in (1, 2, 3, 4, 6, 8)]
    [1, 2, 1, 3, 2, 4]
    """
    return (t & -t).bit_length()


def check_level_scales(level_scales: Any, k: Array, states: Array, seen: int) -> Array:
    """Returns level scales (..., kv_heads, j, levels) in the dtype of k.

    ValueError for fewer levels than the tokens have, of which `seen` come before k, or than the states have.
    """
    needed, held = levels_of(seen + k.shape[-2]), states.shape[-3]
    given = floating("level_scales", level_scales)
    levels = given.shape[-1] if given.ndim else 0
    if levels < needed:
        raise ValueError(f"level_scales: expected at least {needed} levels for {seen + k.shape[-2]} tokens, got shape {given.shape}")
    if levels < held:
        raise ValueError(f"level_scales: expected one for each of the {held} levels of the initial_state, got shape {given.shape}")
    return check_gate("level_scales", given, (*k.shape[:-1], levels), k.dtype)


def check_level_states(state: Any, k: Array, v: Array) -> tuple[Array, int]:
    """Returns the states (..., kv_heads, levels, d, e) and the number of tokens that they hold, or one of zeros and 0.

    The number is an int, or an array (..., kv_heads) of equal ints, so that rows of a batch can be picked from it.
    """
    heads, widths = k.shape[:-2], (k.shape[-1], v.shape[-1])
    if state is None:
        return np.zeros((*heads, 1, *widths), k.dtype), 0
    if not isinstance(state, tuple) or len(state) != 2:
        raise TypeError(f"initial_state: expected the pair (states, tokens seen), got {type(state).__name__}")
    states, seen = state
    if not is_int(seen):
        counts = index_array("initial_state (tokens seen)", seen)
        if counts.shape != heads or (counts.size and np.any(counts != counts.flat[0])):
            raise ValueError(f"initial_state (tokens seen): expected an int, or equal ones of shape {heads}, got {seen!r:.60}")
        seen = int(counts.flat[0]) if counts.size else 0
    seen = whole("initial_state (tokens seen)", seen, 0)
    states = floating("initial_state (states)", states)
    levels = max(levels_of(seen), states.shape[-3] if states.ndim > 2 else 0)
    return one_state("initial_state (states)", states, (*heads, levels, *widths), k.dtype), seen
