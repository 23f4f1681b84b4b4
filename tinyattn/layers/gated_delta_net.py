"""Gated DeltaNet: a causal convolution before queries, keys and values, the gated delta rule, and a gated norm behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.layers.affine import Affine
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
    Where there are more value heads than key heads, queries and keys are repeated for them.

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

    def __call__(self, x: Array, *, causal: bool = True, cache: None = None, **options: Any) -> Array:
        if not causal or cache is not None:
            raise ValueError("causal, cache: this layer is always causal, and computes whole texts without a cache")
        parts = [part(x) for part in (self.q, self.k, self.v)]
        edges = np.cumsum([part.shape[-1] for part in parts])[:-1].tolist()
        mixed: Any = causal_convolution(np.concatenate(parts, axis=-1).swapaxes(-1, -2), self.taps)
        q, k, v = np.split(silu(mixed.swapaxes(-1, -2)), edges, axis=-1)
        q, k = (self.directions(part) for part in (q, k))
        beta = sigmoid(self.beta(x)).swapaxes(-1, -2)
        log_decay = (-np.exp(self.log_rate) * softplus(self.decay(x) + self.bias)).swapaxes(-1, -2)
        read = fastest.gated_delta_rule(q, k, split_heads(v, self.value_heads), beta=beta, log_decay=log_decay,
                                        scale=q.shape[-1] ** -0.5, **options)
        return self.out(merge_heads(self.norm(read) * silu(split_heads(self.gate(x), self.value_heads))))

    def directions(self, x: Array) -> Array:
        """Returns queries or keys as heads of length 1, repeated for the value heads that share them."""
        heads = split_heads(x, self.key_heads)
        width = heads.shape[-1]
        heads = rms_norm(heads, epsilon=EPSILON / width) * width ** -0.5
        return np.repeat(heads, self.value_heads // self.key_heads, axis=-3)
