"""Problems of attention whose weights are not a plain softmax: gates that forget, shares, sigmoids, thresholds, scores by counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import given, on, one_of, plain_values, with_options
from tinyattn.laws.draw.sizes import at_least, at_most_keys, both, fixed
from tinyattn.laws.draw.softmax import ALL, sloped, softmax
from tinyattn.laws.draw.variants import CAUSAL, SLOPES, SOFTMAX
from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array


def gates(closed: float) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns the drawing of logs of forget gates, (..., heads, kv_len), of which this share is closed."""
    def make(rng: np.random.Generator, p: Problem) -> Array:
        shape = (*p.q.shape[:-2], p.k.shape[-2])
        return np.where(rng.random(shape) < closed, -np.inf, -2.0 * rng.random(shape)).astype(p.q.dtype)

    return make


def all_gates(value: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that sets all log gates to one number."""
    return lambda p: p.but(log_forget=np.full_like(p.options["log_forget"], value))


def gates_of_heads(p: Problem) -> Problem:
    """Returns the problem with log gates of -1/2, -1, -3/2, ... in its heads."""
    slopes = 0.5 * np.arange(1, p.q.shape[-3] + 1, dtype=p.q.dtype)
    return p.but(log_forget=np.zeros_like(p.options["log_forget"]) - slopes[:, None])


def open_or_closed(p: Problem) -> Problem:
    """Returns the problem with every gate 1, or 0 where it was nearly 0."""
    gate = p.options["log_forget"]
    return p.but(log_forget=np.where(gate < -1.0, -np.inf, 0.0).astype(gate.dtype))


def per_head(rng: np.random.Generator, p: Problem) -> Any:
    """Draws a number, or one per head."""
    return 0.75 if rng.random() < 0.3 else (0.5 + rng.random(p.q.shape[-3])).astype(p.q.dtype)


def offsets(rng: np.random.Generator, p: Problem) -> Any:
    """Draws no offset half of the time, else a number or one per head."""
    return None if rng.random() < 0.5 else -1.5 if rng.random() < 0.3 else rng.standard_normal(p.q.shape[-3]).astype(p.q.dtype)


def heads_own(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one number per head."""
    return (0.5 + rng.random(p.q.shape[-3])).astype(p.q.dtype)


FEWER = softmax("scale", fit=at_most_keys)
FORGET = with_options(softmax("scale", "window", fit=at_most_keys), log_forget=gates(0.15))
STICK = with_options(FEWER, current=one_of(True, False))
STICK_FLAT = on(STICK, fixed(regime="flat"))
STICK_OF_TWO = given(softmax("scale", fit=both(fixed(kv_len=2), at_most_keys)), current=False)
SIGMOID, SIGMOID_CAUSAL = (with_options(draw, offset=offsets) for draw in (SOFTMAX, CAUSAL))
SIGMOID_SLOPES = with_options(SLOPES, offset=heads_own)
SIGMOID_LOW = given(plain_values(SOFTMAX), offset=-60.0)
SIGMOID_ALONE = given(softmax("scale", "softcap", "bias", fit=at_most_keys), offset=0.0, window=(0, 0))
SPREAD = on(given(softmax("causal", "mask", "window"), scale=2.0 ** 30), fixed(regime="plain", head_dim=4))
CLOSE = given(plain_values(softmax("causal", "mask", "window")), scale=2.0 ** -12)
ALPHAS = with_options(SOFTMAX, alpha=one_of(1.0, 1.25, 1.5, 2.0, 2.5))
ALPHAS_SLOPES = with_options(plain_values(SLOPES), alpha=one_of(1.0, 1.25, 1.5, 1.75))
ALPHAS_CAUSAL = with_options(CAUSAL, alpha=one_of(1.25, 1.5, 2.0))
SCALABLE = with_options(softmax(*ALL), factor=per_head)
SCALABLE_SLOPES = with_options(sloped(*ALL), factor=heads_own)
SCALABLE_CAUSAL = with_options(CAUSAL, factor=per_head)


def inverse_log(rng: np.random.Generator, p: Problem) -> float:
    """Returns 1 / log of the number of keys."""
    return float(1.0 / np.log(p.k.shape[-2]))


EVEN_COUNTS = with_options(softmax("bias", "scale", "softcap", "sinks", fit=at_least(kv_len=2)), factor=inverse_log)
