"""Faults in recurrences that read by solving, or by levels: what is in the regression, which level and whose scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

MESA, LEVELS = "mesa", "log_linear_attention"
CARRIED = "a_state_carries_all_that_came_before"


def between(log_decay: Any, i: int) -> Any:
    """Returns the product of the decays after each token and up to token i."""
    return np.stack([np.exp(np.sum(log_decay[..., j + 1 : i + 1], axis=-1)) for j in range(i + 1)], axis=-1)


def regressed(p: Problem, weight: Callable[[Any], Any] = lambda beta: beta, faded: bool = False, late: int = 0) -> Any:
    """Returns mesa from the weight of each token among the keys, with a ridge that fades or not, without the last `late` tokens."""
    first, scale, rows = p.k.shape[-2] - p.q.shape[-2], p.options.get("scale") or 1.0, []
    ridge = p.options["ridge"][:, None, :] * np.eye(p.k.shape[-1], dtype=p.k.dtype)
    for i in range(first, p.k.shape[-2]):
        own, end = between(p.options["log_decay"], i), i + 1 - late
        values, keys = ((own * w)[..., :end] for w in (p.options["beta"][..., : i + 1], weight(p.options["beta"])[..., : i + 1]))
        kept = np.exp(np.sum(p.options["log_decay"][..., : i + 1], axis=-1))[..., None, None] if faded else 1
        told, said = p.k[..., :end, :], p.v[..., :end, :]
        inner = np.swapaxes(told * keys[..., None], -1, -2) @ told + ridge * kept
        map_ = np.linalg.solve(inner, np.swapaxes(told * values[..., None], -1, -2) @ said)
        rows.append(scale * p.q[..., i - first : i - first + 1, :] @ repeat_heads(p.q, map_)[0])
    return np.concatenate(rows, axis=-2) if rows else np.zeros((*p.q.shape[:-1], p.v.shape[-1]), p.q.dtype)


def alone(p: Problem) -> bool:
    """Returns whether a problem neither gives a state nor asks for one."""
    return p.options.get("initial_state") is None and not p.options.get("return_state")


@twin("equals_ridge_regression", "cached_is_full", row=MESA)
def ridge_fades(f: Mechanism, p: Problem) -> Any:
    """The ridge is the first state of the sum of the keys, and decays with it."""
    return regressed(p, faded=True) if alone(p) else p.call(f)


@twin("equals_ridge_regression", row=MESA)
def keys_not_weighed(f: Mechanism, p: Problem) -> Any:
    """Beta weighs the values that are written, but not the keys of the regression."""
    return regressed(p, weight=np.ones_like) if alone(p) else p.call(f)


@twin("equals_linear_attention", "equals_ridge_regression", row=MESA)
def solved_before_the_token(f: Mechanism, p: Problem) -> Any:
    """A query reads the regression without its own token."""
    return regressed(p, late=1) if alone(p) else p.call(f)


@twin("a_large_ridge_tends_to_simple_gated_linear_attention", "equals_linear_attention", row=MESA)
def ridge_beside_the_mean(f: Mechanism, p: Problem) -> Any:
    """The ridge is halved, as if the errors were halved too."""
    return p.but(ridge=0.5 * p.options["ridge"]).call(f)


@twin(CARRIED, row=MESA)
def keys_of_the_past_forgotten(f: Mechanism, p: Problem) -> Any:
    """Only the sum of k v^T is carried on: the regression of later tokens begins with the ridge alone."""
    state = p.options.get("initial_state")
    return p.call(f) if state is None else p.but(initial_state=(state[0], np.zeros_like(state[1]))).call(f)


@twin("gradients_equal_ridge_regression", row=MESA)
def ridge_does_not_learn(f: Mechanism, p: Problem) -> Any:
    """The gradient of the ridge, which runs through the solution, is not computed."""
    return p.but(ridge=stopped(p.options["ridge"])).call(f)


def weighed_by(p: Problem, level: Callable[[int, int], int], at_key: bool = False, own_fades: bool = False) -> Any:
    """Returns log-linear attention with other levels of the pairs (i, j), or with the scales that the key's token gives."""
    first, scale, rows = p.k.shape[-2] - p.q.shape[-2], p.options.get("scale") or 1.0, []
    decay = p.options["log_decay"]
    for i in range(first, p.k.shape[-2]):
        at = np.array([level(i, j) for j in range(i + 1)])
        scales = p.options["level_scales"][..., np.arange(i + 1) if at_key else i, at] * between(decay, i)
        scales = scales * np.exp(decay[..., i : i + 1]) if own_fades else scales
        keys, values, weights = repeat_heads(p.q, p.k[..., : i + 1, :], p.v[..., : i + 1, :], scales[..., None])
        rows.append(scale * np.swapaxes(keys @ p.q[..., i - first, :, None] * weights, -1, -2) @ values)
    return np.concatenate(rows, axis=-2) if rows else np.zeros((*p.q.shape[:-1], p.v.shape[-1]), p.q.dtype)


def differing(i: int, j: int) -> int:
    """Returns one more than the highest bit in which i and j differ."""
    return (i ^ j).bit_length()


@twin("equals_pair_by_pair", "cached_is_full", row=LEVELS)
def scales_of_the_key(f: Mechanism, p: Problem) -> Any:
    """The scale of a level is read at the token that was written, not at the one that asks."""
    return weighed_by(p, differing, at_key=True) if alone(p) else p.call(f)


@twin("equals_pair_by_pair", "equals_blocks_of_four", row=LEVELS)
def levels_by_distance(f: Mechanism, p: Problem) -> Any:
    """The level of a pair is that of its distance: segments move along with the query instead of standing still."""
    return weighed_by(p, lambda i, j: (i - j).bit_length()) if alone(p) else p.call(f)


@twin("equals_simple_gated_linear_attention", "equals_pair_by_pair", row=LEVELS)
def own_token_fades(f: Mechanism, p: Problem) -> Any:
    """All levels decay after the token was written, level 0 among them."""
    return weighed_by(p, differing, own_fades=True) if alone(p) else p.call(f)


@twin(CARRIED, row=LEVELS)
def tokens_counted_anew(f: Mechanism, p: Problem) -> Any:
    """The number of tokens seen is not part of the state: after it, segments end at other tokens."""
    state = p.options.get("initial_state")
    return p.call(f) if state is None else p.but(initial_state=(state[0], np.zeros_like(state[1]))).call(f)


@twin("gradients_equal_pair_by_pair", row=LEVELS)
def scales_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The gradient of the level scales is not computed."""
    return p.but(level_scales=stopped(p.options["level_scales"])).call(f)
