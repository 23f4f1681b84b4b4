"""Problems of linear attention and of recurrences: features, gates, and limits in which a mechanism is a simpler one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import one_of, with_options
from tinyattn.laws.draw.sizes import at_least, both, square
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes, arrays, repeat_heads
from tinyattn.ops.draws import performer_projection
from tinyattn.ops.types import Array


def linear(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a problem that is causal or not and normalised or not, with no more queries than keys and plain numbers."""
    sizes = at_least(q_len=1)(replace(sizes, q_len=min(sizes.q_len, sizes.kv_len),
                                      regime="plain" if sizes.regime in ("spiky", "offset", "flat") else sizes.regime))
    options = {"causal": bool(rng.random() < 0.6), "normalize": bool(rng.random() < 0.6)}
    return arrays(rng, sizes, **options)


def always(**given: Any) -> Draw:
    """Returns the drawing with these options set and as many queries as keys."""
    return lambda rng, sizes: linear(rng, both(at_least(kv_len=4), square)(sizes)).but(**given)


def positive(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws features that are given as they are, all of them positive."""
    p = linear(rng, sizes).but(feature_map=None, normalize=True)
    return p.but(q=np.abs(p.q) + 0.1, k=np.abs(p.k) + 0.1)


def few_directions(rng: np.random.Generator, p: Problem) -> Array:
    """Draws random directions, few or many."""
    return rng.standard_normal((int(rng.choice((1, 4, 9))), p.q.shape[-1])).astype(p.q.dtype)


@lru_cache(maxsize=1024)
def directions(head_dim: int, features: int, seed: int) -> Array:
    """Returns one drawing of Performer's directions, always the same for one seed."""
    return performer_projection(np.random.default_rng(seed), features, head_dim)


NEAR = with_options(linear, max_length=one_of(16, 100))
AWAY = with_options(NEAR, start=one_of(0, 5))
DIRECTED = with_options(linear, projection=few_directions)


def gated(*gates: str, channels: bool = False, heads: bool = False) -> Draw:
    """Returns the drawing of problems with these gates: log decays per token, channel or head, and write strengths."""
    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        sizes = at_least(q_len=1)(replace(sizes, q_len=min(sizes.q_len, sizes.kv_len), regime="plain"))
        shape: tuple[int, ...] = (*sizes.leading, sizes.kv_heads, sizes.kv_len)
        options: dict[str, Any] = {}
        if "log_decay" in gates:
            shape_of = (sizes.kv_heads,) if heads else (*shape, sizes.head_dim) if channels else shape
            options["log_decay"] = -rng.choice((0.1, 1.0, 5.0)) * rng.random(shape_of)
        if "beta" in gates:
            options["beta"] = rng.random(shape)
        p = arrays(rng, replace(sizes, dtype="float64"), **options)
        # The delta rule is stable for beta |k|^2 of at most 2: keys of at most length 1.
        return p.but(k=p.k / (1.0 + np.linalg.norm(p.k, axis=-1, keepdims=True))).astype(sizes.dtype)

    return draw


SCALAR, CHANNELS, HEADS = gated("log_decay"), gated("log_decay", channels=True), gated("log_decay", heads=True)
BETA, BOTH = gated("beta"), gated("beta", "log_decay")


def with_state(p: Problem) -> Problem:
    """Returns the problem with an initial state, and with the last state asked for."""
    shape = (*p.k.shape[:-2], p.k.shape[-1], p.v.shape[-1])
    return p.but(initial_state=np.cos(np.arange(np.prod(shape))).reshape(shape).astype(p.q.dtype), return_state=True)


def with_decay(value: Callable[[Array], Array]) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that applies a function to its log_decay."""
    return lambda p: p.but(log_decay=value(p.options["log_decay"]))


def equal_channels(log_decay: Array) -> Array:
    """Returns log decays in which every channel has the decay of the first one."""
    return log_decay[..., :1] + np.zeros_like(log_decay)


def keys_of_forget_gates(p: Problem) -> Problem:
    """Returns the problem with 1 - exp(log_decay) as keys."""
    return p.but(k=1 - np.exp(p.options["log_decay"]))


def orthonormal(p: Problem) -> Problem:
    """Returns the problem with orthonormal keys, cut to as many tokens as there are channels."""
    size = min(p.k.shape[-2:])
    rows = np.broadcast_to(np.eye(size, p.k.shape[-1], dtype=p.k.dtype), (*p.k.shape[:-2], size, p.k.shape[-1]))
    cut = p.tokens(slice(-size, None))
    return cut.but(k=rows.copy(), q=cut.q[..., -size:, :])


def with_beta(value: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that sets every write strength to one number."""
    return lambda p: p.but(beta=np.full_like(p.options["beta"], value))


def recall(p: Problem) -> Problem:
    """Returns the problem in which every query asks for the key just written, which has length 1 and strength 1."""
    k = p.k / np.linalg.norm(p.k, axis=-1, keepdims=True)
    return p.but(k=k, q=repeat_heads(p.q, k)[0], beta=np.ones_like(p.options["beta"]))
