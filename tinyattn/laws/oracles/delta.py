"""Delta rules as products of matrices: what a query reads of a key has passed through the transitions of all tokens between them.

No state is kept: each query walks back over the keys, and its row passes through one transition per token. The transitions are
written from each mechanism's own formula.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.draw.delta import generalized_of
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array


def outer(a: Array, b: Array) -> Array:
    """Returns a b^T of the last axes."""
    return a[..., :, None] * b[..., None, :]


def faded(log_decay: Array, width: int) -> Array:
    """Returns diag(exp(log_decay)), of one decay per channel or of one for all channels: (..., d) or (..., 1) -> (..., d, d)."""
    return np.exp(log_decay)[..., None] * np.eye(width, dtype=log_decay.dtype)


def corrected(k: Array, beta: Array) -> Array:
    """Returns I - beta k k^T."""
    return np.eye(k.shape[-1], dtype=k.dtype) - outer(beta[..., None] * k, k)


def walked_back(q: Array, k: Array, v: Array, transitions: Array) -> Array:
    """Returns out_i = sum_{j <= i} (q_i^T T_i ... T_{j+1} k_j) v_j, with the transitions T (..., kv_heads, j, d, d)."""
    out, groups, first = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype), q.shape[-3] // k.shape[-3], k.shape[-2] - q.shape[-2]
    for h in range(q.shape[-3]):
        for i in range(q.shape[-2]):
            row = q[..., h, i, :]
            for j in range(first + i, -1, -1):
                key, value = k[..., h // groups, j, :], v[..., h // groups, j, :]
                out[..., h, i, :] += np.sum(row * key, axis=-1, keepdims=True) * value
                row = np.sum(row[..., :, None] * transitions[..., h // groups, j, :, :], axis=-2)
    return out


def generalized(q: Array, k: Array, v: Array, *, log_decay: Array, read: Array, write: Array) -> Array:
    """Returns the generalized delta rule, T = diag(exp(log_decay)) + write read^T."""
    return walked_back(q, k, v, faded(log_decay, k.shape[-1]) + outer(write, read))


def kimi(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array) -> Array:
    """Returns Kimi delta attention, T = (I - beta k k^T) diag(exp(log_decay)), with values times beta."""
    return walked_back(q, k, v * beta[..., None], corrected(k, beta) @ faded(log_decay, k.shape[-1]))


def rwkv7(q: Array, k: Array, v: Array, *, log_decay: Array, removal: Array, rate: Array) -> Array:
    """Returns RWKV-7's recurrence, T = diag(exp(log_decay)) - (rate * removal) removal^T."""
    return walked_back(q, k, v, faded(log_decay, k.shape[-1]) - outer(rate * removal, removal))


def rank_one(q: Array, k: Array, v: Array, *, log_decay: Array, read: Array, write: Array) -> Array:
    """Returns a state that does not decay, T = I + write read^T."""
    return walked_back(q, k, v, np.eye(k.shape[-1], dtype=k.dtype) + outer(write, read))


def erasing(q: Array, k: Array, v: Array, *, log_decay: Array, erase: Array, keep: Array) -> Array:
    """Returns gated DeltaNet 2, T = (I - k (erase * k)^T) diag(exp(log_decay)), with values times keep."""
    erased = np.eye(k.shape[-1], dtype=k.dtype) - outer(k, erase * k)
    return walked_back(q, k, v * keep, erased @ faded(log_decay, k.shape[-1]))


def comba(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, aside: Array) -> Array:
    """Returns Comba in its chunked form, T = exp(log_decay) I - beta k aside^T, with values times beta."""
    strength = beta[..., None]
    return walked_back(q, k, v * strength, faded(log_decay[..., None], k.shape[-1]) - outer(strength * k, aside))


def gated_delta_of_one_step(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array) -> Array:
    """Returns the gated delta rule on tokens of one step."""
    out: Array = definitions.gated_delta_rule(q, k, v, beta=beta[..., 0], log_decay=log_decay)
    return out


def as_generalized(q: Array, k: Array, v: Array, *, slopes: Array | None = None, **options: Any) -> Array:
    """Returns the generalized delta rule with the arguments that make it an older state mechanism."""
    gates: dict[str, Any] = {name: options[name] for name in ("log_decay", "beta", "scale") if name in options}
    if slopes is not None:
        gates["log_decay"] = -slopes
    out: Array = generalized_of(Problem(q, k, v, gates)).call(definitions.generalized_delta_rule)
    return out


def over_all_steps(mechanism: Mechanism) -> Mechanism:
    """Returns a delta rule over all steps as tokens of their own, with other queries between the last steps."""
    def stepped(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array) -> Array:
        steps = beta.shape[-1]
        decays = np.concatenate((log_decay[..., None], np.zeros((*log_decay.shape, steps - 1), k.dtype)), axis=-1)
        out: Array = mechanism(np.repeat(q, steps, axis=-2), in_turn(k, steps), in_turn(v, steps),
                               beta=in_turn(beta, steps)[..., 0], log_decay=decays.reshape(*k.shape[:-2], -1))
        return out[..., steps - 1 :: steps, :]

    return stepped


def gated_delta_of_equal_channels(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array) -> Array:
    """Returns the gated delta rule with the decay of the first channel."""
    out: Array = definitions.gated_delta_rule(q, k, v, beta=beta, log_decay=log_decay[..., 0])
    return out


def added(q: Array, k: Array, v: Array, *, log_decay: Array, removal: Array, rate: Array) -> Array:
    """Returns gated linear attention: nothing is removed."""
    out: Array = definitions.gated_linear_attention(q, k, v, log_decay=log_decay)
    return out


def in_turn(x: Array, steps: int) -> Array:
    """Returns what stands side by side for the steps of a token, one after another: (..., j, steps d) -> (..., steps j, d)."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * steps, x.shape[-1] // steps)


def several(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array | None) -> Array:
    """Returns DeltaProduct of steps that stand side by side, as the gated delta rule over all of them; read after the last one."""
    steps, length = beta.shape[-1], k.shape[-2]
    decay = np.zeros(k.shape[:-1], k.dtype) if log_decay is None else log_decay
    at = np.arange(steps * length)
    decays = np.where(at % steps == 0, np.repeat(decay, steps, axis=-1), 0)
    keys, values, strengths = in_turn(k, steps), in_turn(v, steps), in_turn(beta, steps)[..., 0]
    transitions = corrected(keys, strengths) @ faded(decays[..., None], keys.shape[-1])
    # The first query stands at the last step of its token; those between are of other tokens' steps and are not kept.
    asked = np.repeat(q, steps, axis=-2)
    return walked_back(asked, keys, values * strengths[..., None], transitions)[..., steps - 1 :: steps, :]
