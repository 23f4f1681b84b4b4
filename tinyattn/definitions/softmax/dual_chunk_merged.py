"""Dual chunk attention as three plain attentions, merged by their sums of exponentials."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.lse import attention_with_lse
from tinyattn.ops.merge import merge
from tinyattn.ops.positions.chunks import check_chunks
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention_merged(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0,
                                clamp: str = "paper", positions: Array | None = None, interleaved: bool = False,
                                scale: float | None = None) -> Array:
    """Returns dual chunk attention as three attentions, to the query's chunk, the one before and all earlier ones, merged.

    Formula: keys are rotated once, by j mod s; queries three times, by i mod s, by min(i mod s + s, c_max) and by c_max. Each
    part p is `attention_with_lse`, and out = sum_p exp(lse_p - lse) out_p.

    Shapes: as `dual_chunk_attention`.

    Raises:
        TypeError, ValueError: as `dual_chunk_attention`.

    Paper: An et al. 2024, arXiv:2402.17463.

    >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> dual_chunk_attention_merged(x * 0, x, x, chunk=1, local=1)
    array([[1., 0.],
           [2., 0.]])
    """
    chunk, most, k_at = check_chunks(q, k, chunk, local, clamp, positions)
    q_at = k_at[k.shape[-2] - q.shape[-2] :]
    apart = q_at[:, None] // chunk - k_at // chunk
    inside = q_at % chunk
    keys = rotary(k, k_at % chunk, base=base, interleaved=interleaved)

    def part(at: Array, seen: Array) -> tuple[Array, Array]:
        return attention_with_lse(rotary(q, at, base=base, interleaved=interleaved), keys, v, mask=seen, scale=scale)

    own = part(inside, (apart == 0) & (k_at <= q_at[:, None]))
    before = part(np.minimum(inside + chunk, most), apart == 1)
    earlier = part(np.full_like(q_at, most), apart > 1)
    return merge(merge(own, before), earlier)[0]
