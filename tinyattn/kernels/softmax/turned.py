"""Attention whose queries are turned from chunk to chunk: the first chunk of each query by NumPy, all others in one kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.turning import Turns, turning
from tinyattn.kernels.softmax.by_rows import attention_by_rows, gradients_by_rows, parts_of
from tinyattn.kernels.softmax.row_blocks import tasks
from tinyattn.kernels.softmax.row_scores import Call
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.blas import each_multiplying
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import all_finite, padded, rounded_up
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array


@once
@primitive
def turned_attention(q: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, first: Array | None,
                     second: Array | None, third: Array | None, call: Call) -> tuple[Array, Any]:
    """Returns `attention_by_rows` of causal scores without bias and sinks, whose `near` says how chunks turn queries."""
    own, micro, groups = (first, second, third), lanes.columns(q.dtype.itemsize), q.shape[-3] // max(k.shape[-3], 1)
    if not q.size or not v.size or not all_finite(q, k, v):  # in a product of a chunk 0 times NaN would reach earlier rows
        return attention_by_rows.computed((q, k, v, bias, sinks, first, second, third, call), {})
    every = tasks(q, k, False)
    parts: list[Any] = [None] * len(every)

    def prepare(n: int) -> None:
        head, kv_head = every[n].places()
        made: Any = call.scores(q[head], k[kv_head], parts_of(own, every[n], call), call)
        parts[n] = made.near()

    with np.errstate(all="ignore"):
        each_multiplying(prepare, len(every), q.size)
    near, z, keys, turns = (np.stack([part[n] for part in parts]) for n in range(4))
    chunks, chunk, dim = keys.shape[-3:]
    blocks, width, value_width = z.shape[-3], rounded_up(dim, micro), rounded_up(v.shape[-1], micro)
    heads = math.prod(q.shape[:-2])
    sizes = Turns(heads, groups, chunks, blocks, chunk, dim, width, value_width, micro, lanes.lanes(q.dtype.itemsize))
    out, lse = np.empty((*q.shape[:-2], blocks * chunk, value_width), q.dtype), np.empty((*q.shape[:-2], blocks * chunk), q.dtype)
    work = heads * blocks * (chunks - blocks + chunks) // 2 * chunk * (chunk * (dim + v.shape[-1]) + dim * dim)
    run(turning, heads * blocks, work, sizes, near.reshape(-1), padded(z, chunk, width), padded(keys, chunk, width),
        padded(turns, width, width), padded(v, chunks * chunk, value_width), out.reshape(-1), lse.reshape(-1))
    begin = (k.shape[-2] - q.shape[-2]) % chunk
    rows = slice(begin, begin + q.shape[-2])
    result, logs = np.ascontiguousarray(out[..., rows, : v.shape[-1]]), np.ascontiguousarray(lse[..., rows])
    return result, (gradients_by_rows, ((q, k, v, bias, sinks), own, call, logs, result))


@turned_attention.backward
def _(d_out: Array, saved: Any) -> Any:
    return attention_by_rows.pulled(d_out, saved)
