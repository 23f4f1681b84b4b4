"""XPos: rotary positions whose scores also decay with the distance, faster in pairs that rotate faster."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import check_broadcast, has_axes, index_array, real, truth
from tinyattn.ops.positions.frequencies import plain
from tinyattn.ops.positions.rotary import BASE, turn_pairs
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# The decay of pair i at a distance of scale_base is (2 i / dims + GAMMA) / (1 + GAMMA).
GAMMA = 0.4


@widened
def xpos_queries(q: Array, positions: Array, *, base: float = BASE, scale_base: float = 512.0, interleaved: bool = False) -> Array:
    """Returns queries rotated as by `rotary`, pair i multiplied by zeta_i ** (position / scale_base).

    Formula: zeta_i = (2 i / head_dim + 0.4) / 1.4. Keys are divided by the same power (`xpos_keys`), so that in a score pair i is
    multiplied by zeta_i ** (distance / scale_base): scores decay with the distance to earlier keys. Only for causal attention: to
    later keys they grow. The powers grow with the position itself, so positions near 0 keep most digits: subtracting one number
    from those of queries and keys alike changes no score.

    Shapes: q (..., length, head_dim), head_dim even, positions of integers that broadcast to q.shape[:-1] -> as q.

    Raises:
        TypeError, ValueError: as `rotary`; a scale_base that is not a finite number above 0; positions so far from 0 that a power
            overflows.

    Paper: Sun et al. 2022, arXiv:2212.10554.

    >>> bool((xpos_queries(np.ones((1, 4)), np.array([0])) == 1).all())
    True
    """
    return scaled(q, "q", positions, base, scale_base, interleaved, 1.0)


@widened
def xpos_keys(k: Array, positions: Array, *, base: float = BASE, scale_base: float = 512.0, interleaved: bool = False) -> Array:
    """Returns keys rotated as by `rotary`, pair i divided by the power by which `xpos_queries` multiplies it.

    Formula: pair i is divided by zeta_i ** (position / scale_base), zeta_i = (2 i / head_dim + 0.4) / 1.4.

    Shapes: k (..., length, head_dim), head_dim even, positions of integers that broadcast to k.shape[:-1] -> as k.

    Raises:
        TypeError, ValueError: as `xpos_queries`.

    Paper: Sun et al. 2022, arXiv:2212.10554.

    >>> q, k, at = np.ones((1, 2)), np.ones((1, 2)), np.array([512])
    >>> bool(np.isclose((xpos_queries(q, at) * xpos_keys(k, at - 512)).sum() * 1.4, 0.4 * 2 * np.cos(512)))
    True
    """
    return scaled(k, "k", positions, base, scale_base, interleaved, -1.0)


def scaled(x: Array, name: str, positions: Array, base: float, scale_base: float, interleaved: bool, power: float) -> Array:
    """Returns queries or keys rotated, with the powers of XPos."""
    x = floating(name, x)
    dims = has_axes(name, x, 2)[-1]
    if dims % 2:
        raise ValueError(f"{name}: rotary positions rotate pairs of channels and need an even head_dim, got shape {x.shape}")
    frequencies, scale_base = plain(dims, base), real("scale_base", scale_base, above=0.0)
    positions = index_array("positions", positions)
    check_broadcast("positions", positions.shape, x.shape[:-1], "(..., length)")
    at = positions[..., None].astype(np.float64)
    decay = np.log((np.arange(dims // 2) / max(dims // 2, 1) + GAMMA) / (1.0 + GAMMA))
    exponents = power * at / scale_base * decay
    # A power that is no number of the dtype would make NaN of a cosine of 0.
    largest = float(np.log(np.finfo(x.dtype).max))
    if np.abs(exponents).max(initial=0.0) > largest:
        farthest = largest / -decay[0] * scale_base
        raise ValueError(f"positions: expected positions whose powers {x.dtype} can hold, at most {farthest:.0f} from 0 at this "
                         f"scale_base, got {positions.min()} to {positions.max()}; one number may be subtracted from all")
    factor, angles = np.exp(exponents), at * frequencies
    return turn_pairs(x, (factor * np.cos(angles)).astype(x.dtype), (factor * np.sin(angles)).astype(x.dtype),
                      truth("interleaved", interleaved))
