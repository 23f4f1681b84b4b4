"""Stick-breaking attention, in tiles from the nearest keys on."""

from __future__ import annotations

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.rows.breaking import Saved, stick_gradients, sticks
from tinyattn.kernels.softmax.weighed import weighed_by_rules
from tinyattn.kernels.tiles.rows import again
from tinyattn.kernels.tiles.seen import without_hidden
from tinyattn.ops.checks import truth
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def stick_breaking_attention(q: Array, k: Array, v: Array, *, current: bool = False, scale: float | None = None) -> Array:
    """Returns the sum of earlier values in which each key, the nearest first, takes a share of the weight that is left.

    Formula: P_ij = sigmoid(s_ij) prod_{j < l < i} (1 - sigmoid(s_il)), out_i = sum_{j < i} P_ij v_j.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.stick_breaking_attention`.

    Paper: Tan et al. 2024, arXiv:2410.17980.

    >>> x = np.zeros((3, 1))
    >>> stick_breaking_attention(x, x, np.array([[8.0], [4.0], [2.0]]))[:, 0]
    array([0., 4., 4.])
    """
    return broken(q, k, v, current, scale)[0]


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def stick_breaking_attention_with_rest(q: Array, k: Array, v: Array, *, current: bool = False,
                                       scale: float | None = None) -> tuple[Array, Array]:
    """Returns (out, rest): stick-breaking attention, and the weight of each query that no key took.

    Formula: rest_i = prod_j (1 - sigmoid(s_ij)).

    Shapes: as `stick_breaking_attention`; rest (..., heads, i).

    Options and errors are those of `tinyattn.definitions.stick_breaking_attention_with_rest`.

    Paper: Tan et al. 2024, arXiv:2410.17980.

    >>> x = np.zeros((3, 1))
    >>> stick_breaking_attention_with_rest(x, x, x)[1]
    array([1.  , 0.5 , 0.25])
    """
    return broken(q, k, v, current, scale)


def broken(q: Array, k: Array, v: Array, current: bool, scale: float | None) -> tuple[Array, Array]:
    """Returns (out, rest)."""
    first_position(q, k)
    right = 0 if truth("current", current) else -1
    mask = None if right == 0 else Pattern(lambda i, j: j < i, text="earlier")
    q, k, v = without_hidden(q, k, v, mask, True, None)
    options = Options(None, None, right, check_scale(scale, q.shape[-1]), None, learned=False)
    return (broken_in_tiles if q.size and k.size and v.size else broken_in_numpy)(q, k, v, options)


def broken_in_numpy(q: Array, k: Array, v: Array, options: Options) -> tuple[Array, Array]:
    """Returns `broken_in_tiles` by functions that have rules."""
    return weighed_by_rules(q, k, v, None, weights_in_logs, options)


def weights_in_logs(scores: Array) -> tuple[Array, Array]:
    """Returns the weights and what they leave."""
    left = np.where(scores == -np.inf, 0.0, -np.logaddexp(0.0, scores))
    after = np.flip(np.cumsum(np.flip(left, axis=-1), axis=-1), axis=-1)
    nearer = np.concatenate((after[..., 1:], np.zeros_like(after[..., :1])), axis=-1)
    return np.exp(nearer - np.logaddexp(0.0, -scores)), np.exp(left.sum(axis=-1))


@again(broken_in_numpy)
@primitive
def broken_in_tiles(q: Array, k: Array, v: Array, options: Options) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, rest), what the backward reads) of plain arrays."""
    return sticks(q, k, v, options)


@broken_in_tiles.backward_giving
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Array]:
    return stick_gradients(*d_outs, saved)
