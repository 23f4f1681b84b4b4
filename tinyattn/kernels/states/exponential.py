"""Exponential gates for the kernel of states: running maxima, and decays, gates and bounds relative to them.

Differences of logarithms are taken in float64: a maximum of several hundred, such as many small decays sum to, has four decimals in
float32, and what is relative to it would have no more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.ops.exponential_gates import reference
from tinyattn.ops.types import Array


class Relative(NamedTuple):
    """Gates relative to the running maxima (..., kv_heads, j + 1), of which the first is the initial one."""

    maxima: Array
    decay: Array
    gates: Array
    bounds: Array


@compiled
def fill_maxima(counter, wrote, kept, before, maxima, count, length):  # type: ignore[no-untyped-def]
    """Fills maxima (count, length + 1) with m_0 = before and m_t = max(kept_t + m_{t-1}, wrote_t).

    The last one is rounded to the dtype in which it is returned, because the last state is relative to it.
    """
    while True:
        head = next_task(counter)
        if head >= count:
            break
        place = head * (length + 1)
        largest = maxima[place] = float(before[head])
        for t in range(length):
            largest = max(kept[head * length + t] + largest, float(wrote[head * length + t]))
            maxima[place + 1 + t] = largest
        maxima[place + length] = wrote.dtype.type(largest)


def relative(wrote: Array, kept: Array, before: Array) -> Relative:
    """Returns the gates relative to the running maxima of their logarithms; see `ops.exponential_gates.running_maximum`."""
    maxima = np.empty((*wrote.shape[:-1], wrote.shape[-1] + 1))
    run(fill_maxima, before.size, wrote.size, *(np.require(x, requirements=["C", "W"]).reshape(-1) for x in (wrote, kept, before)),
        maxima.reshape(-1), before.size, wrote.shape[-1])
    since, farthest = reference(maxima[..., 1:]), -float(np.log(np.finfo(wrote.dtype).tiny))
    decay, gates = np.exp(kept + maxima[..., :-1] - since), np.exp((wrote - since).astype(wrote.dtype))
    # exp(-m), as far as float64 has it; above 0, so that 0 / 0 is 0.
    return Relative(maxima, decay, gates, np.exp(-np.clip(maxima[..., 1:], -700, farthest)))


def through_maxima(d_wrote: Array, d_kept: Array, d_last: Array, wrote: Array, kept: Array, maxima: Array) -> Array:
    """Adds what the gradient of the last maximum gives the gates it came from, and returns that of the initial maximum.

    Where both sides of a maximum are equal, each has one half.
    """
    carried = kept + maxima[..., :-1]
    share = np.where(carried == wrote, 0.5, carried > wrote)
    after = np.ones(maxima.shape)  # which part of the last maximum comes by each one
    after[..., :-1] = np.cumprod(share[..., ::-1], axis=-1)[..., ::-1]
    slopes = d_last[..., None] * after
    d_wrote += slopes[..., 1:] * (1 - share)
    d_kept += slopes[..., 1:] * share
    first: Any = slopes[..., 0]
    return np.asarray(first)
