"""Sticks broken from the right, on plain arrays: what the kernels read, and sums of gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.exact.primitive import Options, scoring
from tinyattn.kernels.exact.scores import Rules
from tinyattn.kernels.exact.tasks import TASKS
from tinyattn.kernels.rows.sticks import sticks_forward
from tinyattn.kernels.rows.sticks_backward import sticks_backward
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import Sizes, all_finite, filled, padded, sizes_of, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array

# Bytes of the tiles that a thread of the backward holds between its two turns, 16 tiles of float32. With backward, 2,048 tokens
# of whose sticks something is left took 1.48 times exact attention with none held, 1.46 with 8, 1.37 with 16 and 1.38 with all 32.
HELD_BYTES = 1 << 18


class Saved(NamedTuple):
    """What the backward reads."""

    sizes: Sizes
    rules: Rules
    scale: float
    inputs: tuple[Array, Array, Array]
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    rest: Array
    finite: bool


def sticks(q: Array, k: Array, v: Array, options: Options) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, rest), what the backward reads)."""
    full, sizes, dtype = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v), q.dtype
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    rules, inputs, finite = scoring(options, seen, None, None, full, dtype)[0], filled(q, k, v, sizes), all_finite(q, k, v)
    out, rest = pages.empty((*full[:-1], sizes.value_dim), dtype), pages.empty(full[:-1], dtype)
    run(sticks_forward, sizes.batch * sizes.heads * -(-sizes.q_len // sizes.q_tile), work(sizes), sizes, rules, finite,
        *edges(dtype), *inputs, out.reshape(-1), rest.reshape(-1))
    return (out, rest), Saved(sizes, rules, options.scale, inputs, (q.shape, k.shape, v.shape), rest, finite)


def stick_gradients(d_out: Array, d_rest: Array, saved: Saved) -> dict[str, Array]:
    """Returns the gradients."""
    sizes, dtype, (of_q, of_k, of_v) = saved.sizes, d_out.dtype, saved.shapes
    blocks = -(-sizes.q_len // sizes.q_tile) * (sizes.heads // sizes.kv_heads)
    splits = max(1, min(-(-TASKS // (sizes.batch * sizes.kv_heads)), blocks))
    d_q = pages.empty(of_q, dtype)
    d_k, d_v = (pages.zeros((splits, *of_k[:-1], width), dtype) for width in (sizes.head_width, sizes.value_width))
    run(sticks_backward, sizes.batch * sizes.kv_heads * splits, 3 * work(sizes), splits, room_of(sizes, dtype), sizes, saved.rules,
        saved.finite and all_finite(d_out), *edges(dtype), saved.scale, *saved.inputs,
        saved.rest.reshape(-1), padded(d_out, sizes.q_len, sizes.value_width), padded(d_rest[..., None], sizes.q_len, 1),
        d_q.reshape(-1), d_k.reshape(-1), d_v.reshape(-1))
    return {"q": d_q, "k": d_k.sum(axis=0)[..., : of_k[-1]], "v": d_v.sum(axis=0)[..., : of_v[-1]]}


def edges(dtype: Any) -> tuple[Any, Any]:
    """Returns the largest score whose exponential is still finite, and the length below which nothing counts as left of a stick."""
    finest = np.finfo(dtype)
    return dtype.type(0.9 * math.log(finest.max)), dtype.type(finest.tiny / finest.eps)


def room_of(sizes: Sizes, dtype: Any) -> int:
    """Returns how many tiles a thread of the backward holds."""
    return int(min(-(-sizes.kv_len // sizes.kv_tile), HELD_BYTES // (sizes.kv_tile * sizes.q_tile * dtype.itemsize)))
