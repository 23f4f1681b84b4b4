"""Gated DeltaNet: a causal convolution before queries, keys and values, the gated delta rule, and a gated norm behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.state import StateCache
from tinyattn.layers.affine import Affine
from tinyattn.layers.attention import Stepping
from tinyattn.layers.checks import check_cache
from tinyattn.layers.norm import RMSNorm
from tinyattn.ops.activation import sigmoid, silu, softplus
from tinyattn.ops.convolution import causal_convolution
from tinyattn.ops.heads import merge_heads, split_heads
from tinyattn.ops.norm import rms_norm
from tinyattn.ops.types import Array

# Added to the sum of squares in the norm of queries and keys.
EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class GatedDeltaNet:
    """out(norm(gated_delta_rule(q, k, v)) * silu(gate)). arXiv:2412.06464.

    x (..., length, width) -> the same shape. q, k and v go through `taps` (channels, taps) and silu side by side; q and k are
    divided by their lengths. beta = sigmoid(beta(x)), log_decay = -exp(log_rate) softplus(decay(x) + bias), one per value head.
    Where there are more value heads than key heads, queries and keys are repeated for them. `cache()` makes a cache for decoding.

    >>> made = [Affine(np.ones((n, 6))) for n in (4, 4, 8, 8, 2, 2)]
    >>> layer = GatedDeltaNet(*made, Affine(np.ones((6, 8))), np.ones((16, 3)), np.zeros(2), np.zeros(2), RMSNorm(np.ones(4)), 1, 2)
    >>> layer(np.ones((1, 3, 6))).shape
    (1, 3, 6)
    """

    q: Affine
    k: Affine
    v: Affine
    gate: Affine
    beta: Affine
    decay: Affine
    out: Affine
    taps: Array
    log_rate: Array
    bias: Array
    norm: RMSNorm
    key_heads: int
    value_heads: int

    def __call__(self, x: Array, *, causal: bool = True, cache: Stepping | None = None) -> Array:
        if not causal:
            raise ValueError("causal: this layer is always causal, got False")
        check_cache(cache)
        q, k, v = (split_heads(part(x), self.key_heads) for part in (self.q, self.k, self.v))
        both = np.concatenate((q, k), axis=-1)
        beta = sigmoid(self.beta(x)).swapaxes(-1, -2)
        log_decay = (-np.exp(self.log_rate) * softplus(self.decay(x) + self.bias)).swapaxes(-1, -2)
        step = self.mixed if cache is None else cache.step
        read = split_heads(merge_heads(step(both, both, v, beta=beta, log_decay=log_decay)), self.value_heads)
        return self.out(merge_heads(self.norm(read) * silu(split_heads(self.gate(x), self.value_heads))))

    def cache(self, *, slack: int = 0) -> StateCache:
        """Returns an empty cache for this layer: the state of the delta rule, and the inputs that the convolution looks back at.

        nbytes = (value_heads key_dim value_dim + channels (taps - 1)) itemsize, times the leading axes; `slack` is that of
        `StateCache`.
        """
        return StateCache(self.mixed, slack=slack)

    def mixed(self, q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, initial_state: tuple[Array, Array] | None = None,
              return_state: bool = False) -> Any:
        """Returns what the delta rule reads, from queries, keys and values before the convolution; with their state if asked.

        Queries stand beside keys, since the convolution looks back at both, and each key head beside the values of all its value
        heads: k (..., key_heads, length, 2 key_dim), v (..., key_heads, length, shared value_dim) -> as v, of the last tokens, as
        many as q has. The state is that of the delta rule, and the last inputs of the convolution.
        """
        parts = [merge_heads(part) for part in (*np.split(k, 2, axis=-1), v)]
        edges = np.cumsum([part.shape[-1] for part in parts])[:-1].tolist()
        state, before = (None, None) if initial_state is None else initial_state
        convolved, last = causal_convolution(np.concatenate(parts, axis=-1).swapaxes(-1, -2), self.taps, initial_state=before,
                                             return_state=True)
        queries, keys, values = np.split(silu(convolved.swapaxes(-1, -2)), edges, axis=-1)
        queries, keys = (self.directions(part) for part in (queries, keys))
        out, state = fastest.gated_delta_rule(queries, keys, split_heads(values, self.value_heads), beta=beta, log_decay=log_decay,
                                              scale=queries.shape[-1] ** -0.5, initial_state=state, return_state=True)
        out = split_heads(merge_heads(out), self.key_heads)[..., k.shape[-2] - q.shape[-2] :, :]
        return (out, (state, last)) if return_state else out

    def directions(self, x: Array) -> Array:
        """Returns queries or keys as heads of length 1, repeated for the value heads that share them."""
        heads = split_heads(x, self.key_heads)
        width = heads.shape[-1]
        heads = rms_norm(heads, epsilon=EPSILON / width) * width ** -0.5
        return np.repeat(heads, self.value_heads // self.key_heads, axis=-3)
