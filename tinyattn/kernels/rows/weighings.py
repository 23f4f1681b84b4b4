"""Attention whose weights are sigmoids, on plain arrays: what its kernels read, and sums of gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.exact.primitive import Options, blank_hidden, scoring
from tinyattn.kernels.exact.scores import Rules
from tinyattn.kernels.exact.tasks import TASKS
from tinyattn.kernels.rows.sigmoids import sigmoid_backward, sigmoid_forward
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.listed import LISTS
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import Sizes, filled, padded, sizes_of, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array


class Saved(NamedTuple):
    """What the backward reads."""

    sizes: Sizes
    rules: Rules
    scale: float
    arrays: tuple[Array, ...]
    back: Array
    inputs: tuple[Array, Array, Array]
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def fits(q: Array, k: Array, v: Array, options: Options) -> bool:
    """Returns whether the kernels take a call: it has no cap, its mask is no pattern, and its bias needs no gradient."""
    plain = options.softcap is None and (options.mask is None or isinstance(options.mask, np.ndarray))
    return bool(plain and not options.learned and q.size and k.size and v.size)


def sigmoids(q: Array, k: Array, v: Array, shift: Array, bias: Array | None, options: Options) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads); shift (..., heads, i) is added to the scores of a query."""
    full, sizes, dtype = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v), q.dtype
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    q, k, v = blank_hidden(q, k, v, options, full, seen)
    rules, *arrays = scoring(options, seen, bias, None, full, dtype)
    parts, inputs, back = tuple(arrays[LISTS - 1 :]), filled(q, k, v, sizes), np.negative(shift).reshape(-1)
    out = pages.empty((*full[:-1], sizes.value_dim), dtype)
    run(sigmoid_forward, sizes.batch * sizes.heads * -(-sizes.q_len // sizes.q_tile), work(sizes), sizes, rules, most(dtype), *parts,
        back, *inputs, out.reshape(-1))
    return out, Saved(sizes, rules, options.scale, parts, back, inputs, (q.shape, k.shape, v.shape))


def sigmoid_gradients(d_out: Array, saved: Saved) -> dict[str, Array]:
    """Returns the gradients."""
    sizes, dtype, (of_q, of_k, of_v) = saved.sizes, d_out.dtype, saved.shapes
    blocks = -(-sizes.q_len // sizes.q_tile) * (sizes.heads // sizes.kv_heads)
    splits = max(1, min(-(-TASKS // (sizes.batch * sizes.kv_heads)), blocks))
    d_q, d_back = pages.empty(of_q, dtype), pages.empty(of_q[:-1], dtype)
    d_k, d_v = (pages.zeros((splits, *of_k[:-1], width), dtype) for width in (sizes.head_width, sizes.value_width))
    run(sigmoid_backward, sizes.batch * sizes.kv_heads * splits, 3 * work(sizes), splits, sizes, saved.rules, most(dtype),
        *saved.arrays, saved.scale, saved.back, *saved.inputs, padded(d_out, sizes.q_len, sizes.value_width), d_q.reshape(-1),
        d_k.reshape(-1), d_v.reshape(-1), d_back.reshape(-1))
    return {"q": d_q, "k": d_k.sum(axis=0)[..., : of_k[-1]], "v": d_v.sum(axis=0)[..., : of_v[-1]], "shift": -d_back}


def most(dtype: Any) -> Any:
    """Returns the largest score whose exponential is still a number."""
    return dtype.type(0.9 * math.log(np.finfo(dtype).max))
