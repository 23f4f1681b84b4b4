"""Score rules: a function of each score and of the positions of its query and key, applied to the scores of attention."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from tinyattn.ops.bias import owned
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

# What to write instead, by words of NumPy's message.
HINTS = {"truth value": "; np.where chooses for each element",
         "converted to Python scalars": "; NumPy's functions work on arrays, those of math do not"}
TAKES = "a function rule(s, i, j, *parameters)"


@dataclass(frozen=True, eq=False, init=False)
class ScoreRule:
    """A rule with learned parameters: attention uses function(s, i, j, *parameters) in the place of each score s.

    s are the scores after scale and softcap; bias and mask come after the rule. i and j are the positions of the query and of
    the key as arrays of the compute dtype: query i stands at i + kv_len - q_len, key j at j. The function works on each element
    by itself, and must return an array of the shape and dtype of s. The parameters are floating arrays that broadcast to
    (..., heads, q_len, kv_len) and have gradients: one number per head has the shape (heads, 1, 1), one per query
    (q_len, 1), one per key (kv_len,). What the function gives for a hidden pair has no effect, and no gradient.

    Raises:
        TypeError: the function does not take this number of parameters, or a parameter is not a floating array.
        ValueError: a parameter holds NaN.

    >>> rule = ScoreRule(lambda s, i, j, slopes: s - slopes * abs(i - j), np.array([[[0.5]], [[2.0]]]))
    >>> rule.parameters[0].shape
    (2, 1, 1)
    """

    function: Callable[..., Array]
    parameters: tuple[Array, ...]
    positions: tuple[Array, Array] | None

    def __init__(self, function: Callable[..., Array], *parameters: Array) -> None:
        if not callable(function) or isinstance(function, type):
            came = f"the class {function.__name__}" if isinstance(function, type) else type(function).__name__
            raise TypeError(f"score: expected {TAKES}, got {came}")
        # One number of an array of shape () is a NumPy scalar as soon as anything is added to it.
        arrays = [np.asarray(x) if isinstance(x, np.floating) else x for x in parameters]
        given = tuple(owned(floating(f"score parameter {n}", x)) for n, x in enumerate(arrays, 1))
        for n, x in enumerate(given, 1):
            if np.isnan(x).any():
                raise ValueError(f"score parameter {n}: expected numbers, got NaN")
        check_count(function, len(given))
        self._set(function, given, None)

    def _set(self, function: Callable[..., Array], parameters: tuple[Array, ...], positions: tuple[Array, Array] | None) -> None:
        for name, value in (("function", function), ("parameters", parameters), ("positions", positions)):
            object.__setattr__(self, name, value)


Score = ScoreRule | Callable[..., Array]


def with_parts(rule: ScoreRule, cut: Callable[[Array], Array], positions: tuple[Array, Array] | None = None) -> ScoreRule:
    """Returns the rule with cut(parameter) for each parameter, for queries and keys at these positions if they are given."""
    made = object.__new__(ScoreRule)
    made._set(rule.function, tuple(map(cut, rule.parameters)), rule.positions if positions is None else positions)
    return made


def of_keys(rule: ScoreRule, at: Array, q_positions: Array | None = None) -> ScoreRule:
    """Returns the rule for some of the keys, of a rule that knows its positions; the queries may get other positions."""
    queries, keys = rule.positions or (at, at)
    return with_parts(rule, lambda x: x[..., at] if x.ndim and x.shape[-1] > 1 else x,
                           (queries if q_positions is None else q_positions, keys[at]))


def applied(rule: ScoreRule, scores: Array, visible: Array | None) -> Array:
    """Returns what the rule makes of scores (..., heads, i, j): 0 where a pair is not visible.

    In hidden pairs the rule gets the score, the positions and the parameters of a pair that is visible. A `np.where` after
    the rule would not be enough: its gradient is 0 there, and the walk back would multiply it by an infinite slope.
    """
    full = scores.shape
    places = rule.positions or bottom_right(*full[-2:])
    i, j = (np.broadcast_to(at.astype(scores.dtype), full) for at in (places[0][..., :, None], places[1][..., None, :]))
    inputs = [scores, i, j, *(np.broadcast_to(x, full) for x in rule.parameters)]
    if visible is None or visible.all():
        return result_of(rule, inputs)
    seen = np.broadcast_to(visible, full)
    if not seen.any():
        return scores
    pair = np.unravel_index(np.argmax(seen), full)
    shown = result_of(rule, [np.where(seen, x, x[pair].item()) for x in inputs])
    return np.where(seen, shown, 0.0)


def result_of(rule: ScoreRule, inputs: list[Array]) -> Array:
    """Returns function(*inputs), which must have the shape and the dtype of the first of them."""
    scores = inputs[0]
    try:
        out = rule.function(*map(read_only, inputs))
    except (TypeError, ValueError) as error:
        raise failure(error, f"arrays of shape {scores.shape}") from error
    out = floating("score: what the rule returns", out)
    if out.shape != scores.shape:
        raise ValueError(f"score: expected the rule to return the shape of s, {scores.shape}, got shape {out.shape}")
    if out.dtype != scores.dtype:
        raise other_dtype(scores.dtype, out.dtype)
    return out


def other_dtype(wanted: Any, got: Any) -> TypeError:
    """Returns the error of a rule that returns another dtype."""
    hint = "; a Python number keeps the dtype, a NumPy float64 does not" if got == np.float64 else ""
    return TypeError(f"score: expected the rule to return the dtype of s, {wanted}, got {got}{hint}")


def failure(error: TypeError | ValueError, given: str) -> TypeError | ValueError:
    """Returns the error of a rule that fails on what it is given: it says whose the error is, which a message of NumPy's does not.

    >>> failure(ValueError("no fit"), "arrays of shape (2, 3)")
    ValueError('score: the rule raised ValueError: no fit; it gets s, i, j and its parameters as arrays of shape (2, 3)')
    """
    text, kind = str(error).strip(), type(error).__name__
    if text.startswith("score"):
        return error
    if "read-only" in text:
        return TypeError(f"score: the rule writes into an array that it is given ({text}); it must return a new one")
    hint = next((hint for words, hint in HINTS.items() if words in text), "")
    said = f"score: the rule raised {kind}: {text}; it gets s, i, j and its parameters as {given}{hint}"
    return TypeError(said) if isinstance(error, TypeError) else ValueError(said)


def check_count(function: Callable[..., Any], count: int) -> None:
    """Raises TypeError unless a function takes s, i, j and `count` parameters."""
    if type(function) is FunctionType and not function.__dict__ and not function.__code__.co_kwonlyargcount:
        # Of a plain function the numbers tell; asking for its signature takes as long as tracing a rule.
        most = function.__code__.co_argcount
        if most - len(function.__defaults__ or ()) <= 3 + count <= most:
            return
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C that does not tell its arguments
        return
    try:
        signature.bind(*range(3 + count))
    except TypeError as error:
        raise TypeError(f"score: expected a rule that takes s, i, j and {count} parameters, got one that takes {signature}: "
                        f"{error}") from None


def bottom_right(q_len: int, kv_len: int) -> tuple[Array, Array]:
    """Returns the positions of queries and keys: the last query stands where the last key does."""
    return np.arange(kv_len - q_len, kv_len), np.arange(kv_len)


def read_only(x: Array) -> Array:
    """Returns an array that refuses to be written to; a Tensor is returned as it is, as it refuses by itself."""
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
    return x


def check_score(score: Score | None, full: tuple[int, ...], dtype: Any) -> ScoreRule | None:
    """Returns the rule with its positions, its parameters in the compute dtype and checked against the full shape."""
    if score is None:
        return None
    rule = score if isinstance(score, ScoreRule) else ScoreRule(score)
    for n, x in enumerate(rule.parameters, 1):
        check_broadcast(f"score parameter {n}", x.shape, full)
    with np.errstate(over="ignore", under="ignore"):
        return with_parts(rule, lambda x: x.astype(dtype) if x.dtype != dtype else x, rule.positions or bottom_right(*full[-2:]))
