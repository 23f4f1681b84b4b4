"""Self-attention as trained models have it: biases, norms of queries and keys, any part rotated, a window, a cap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import NoneType
from typing import Any

import numpy as np

from tinyattn.layers.affine import Affine
from tinyattn.layers.attention import Stepping, without_causal
from tinyattn.layers.checks import check_cache, check_mechanism, check_parts
from tinyattn.layers.mixed import same
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.checks import integers, real, truth, whole
from tinyattn.ops.heads import merge_heads, split_heads
from tinyattn.ops.positions.frequencies import Frequencies, FrequenciesByLength
from tinyattn.ops.positions.rotary import RUN, rotary, turn_pairs
from tinyattn.ops.types import Array


def tables(frequencies: Frequencies, start: int, length: int, dtype: Any) -> tuple[Array, Array]:
    """Returns the cosines and sines (length, pairs) of the positions from `start` on.

    >>> tables(Frequencies(np.ones(1)), 0, 2, np.dtype(float))[0].round(2).tolist()
    [[1.0], [0.54]]
    """
    first = start // RUN * RUN
    cos, sin = run_of_tables(frequencies, first, -(-(start - first + length) // RUN) * RUN, dtype)
    return cos[start - first : start - first + length], sin[start - first : start - first + length]


@lru_cache(maxsize=4)
def run_of_tables(frequencies: Frequencies, start: int, length: int, dtype: Any) -> tuple[Array, Array]:
    """Returns the tables of whole runs of positions, kept because all layers of a model share them."""
    angles, factor = np.arange(start, start + length)[:, None] * frequencies.values, frequencies.attention_factor
    return (factor * np.cos(angles)).astype(dtype), (factor * np.sin(angles)).astype(dtype)


@dataclass(frozen=True, eq=False)
class TrainedAttention:
    """Self-attention over projections with biases. x (..., length, width) -> the same shape.

    `q_norm` and `k_norm` act on each head, or on all heads at once where `norms_whole` is True. The first channels of each
    head, twice as many as there are `frequencies`, are rotated; None rotates nothing. `options` are those of the mechanism, such
    as scale, window and softcap. What the heads read is multiplied by sigmoid(gate(x)), if there is a gate. `head_dim` need not
    be the width divided by the heads. With a cache the mechanism of the cache runs instead.

    >>> from tinyattn import definitions
    >>> made = [Affine(np.ones((n, 6))) for n in (8, 4, 4)]
    >>> layer = TrainedAttention(*made, Affine(np.ones((6, 8))), 4, 2, mechanism=definitions.attention)
    >>> layer(np.ones((1, 3, 6))).shape
    (1, 3, 6)
    """

    q: Affine
    k: Affine
    v: Affine
    out: Affine
    heads: int
    kv_heads: int
    mechanism: Callable[..., Any]
    frequencies: Frequencies | FrequenciesByLength | None = None
    interleaved: bool = False
    q_norm: Callable[[Array], Array] = field(default_factory=lambda: same)
    k_norm: Callable[[Array], Array] = field(default_factory=lambda: same)
    norms_whole: bool = False
    clip: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    gate: Affine | None = None

    def __post_init__(self) -> None:
        check_mechanism(self.mechanism)
        for name in ("q", "k", "v"):
            if not hasattr(part := getattr(self, name), "weight") or not callable(part):
                raise TypeError(f"{name}: expected an Affine, got {type(part).__name__}")
        check_parts(out=self.out, q_norm=self.q_norm, k_norm=self.k_norm, gate=same if self.gate is None else self.gate)
        for name in ("heads", "kv_heads"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1))
        for name in ("interleaved", "norms_whole"):
            object.__setattr__(self, name, truth(name, getattr(self, name)))
        if self.clip is not None:
            object.__setattr__(self, "clip", real("clip", self.clip, least=0.0))
        if not isinstance(self.frequencies, (Frequencies, FrequenciesByLength, NoneType)):
            raise TypeError(f"frequencies: expected Frequencies or None, got {type(self.frequencies).__name__}")
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options: expected a mapping from names, got {type(self.options).__name__}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads: expected a multiple of the {self.kv_heads} kv_heads, got {self.heads}")
        for name, part, heads in (("q", self.q, self.heads), ("k", self.k, self.kv_heads), ("v", self.v, self.kv_heads)):
            if part.weight.shape[0] % heads:
                raise ValueError(f"{name}: expected a multiple of {heads} heads as outputs, got a weight {part.weight.shape}")

    def parts(self, x: Array, start: int = 0, positions: Array | None = None) -> tuple[Array, Array, Array]:
        """Returns queries, keys and values, normed and rotated as the mechanism takes them; x starts at position `start`."""
        start = whole("start", start, 0)
        q, k = self._headed(x, self.q, self.q_norm, self.heads), self._headed(x, self.k, self.k_norm, self.kv_heads)
        if self.frequencies is not None:
            q, k = (self._rotated(part, start, positions) for part in (q, k))
        return q, k, split_heads(self._clipped(self.v(x)), self.kv_heads)

    def _rotated(self, x: Array, start: int, positions: Array | None) -> Array:
        """Returns queries or keys (..., heads, length, head_dim), the first channels rotated."""
        if positions is None:
            frequencies = self._frequencies_of(start, start + x.shape[-2])
            if frequencies is None:
                return x
            cos, sin = tables(frequencies, start, x.shape[-2], x.dtype)
            return turn_pairs(x, cos, sin, self.interleaved)
        at = integers("positions", positions)[..., None, :]
        frequencies = self._frequencies_of(start, int(at.max(initial=-1)) + 1)
        if frequencies is None:
            return x
        return rotary(x, at, dims=2 * len(frequencies.values), frequencies=frequencies, interleaved=self.interleaved)

    def _frequencies_of(self, start: int, stop: int) -> Frequencies | None:
        """Returns the frequencies of a text of `stop` tokens, of which a cache holds `start`."""
        given = self.frequencies
        if not isinstance(given, FrequenciesByLength):
            return given
        if 0 < start <= given.original_length < stop:
            raise ValueError(f"cache: its {start} tokens were rotated as those of a text of at most {given.original_length}, and with "
                             f"{stop} tokens all are rotated by other frequencies; give the whole text again with new caches")
        return given.of(stop)

    def _headed(self, x: Array, weights: Affine, norm: Callable[[Array], Array], heads: int) -> Array:
        """Returns the projected and normed tokens as heads."""
        projected = self._clipped(weights(x)) if not self.norms_whole else norm(weights(x))
        split = split_heads(projected, heads)
        return split if self.norms_whole else norm(split)

    def _clipped(self, x: Array) -> Array:
        """Returns x clipped to between -clip and clip, if the model does that."""
        return x if self.clip is None else np.clip(x, -self.clip, self.clip)

    def __call__(self, x: Array, *, cache: Stepping | None = None, positions: Array | None = None, **options: Any) -> Array:
        check_cache(cache)
        q, k, v = self.parts(x, 0 if cache is None else cache.length, positions)
        given = {**self.options, **options}
        out = self.mechanism(q, k, v, **given) if cache is None else cache.step(q, k, v, **without_causal(given))
        read = merge_heads(out)
        return self.out(read if self.gate is None else read * sigmoid(self.gate(x)))
