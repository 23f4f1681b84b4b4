"""Faults in attention that scores how tokens relate: cosines, mixtures of heads, tables of distances, directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.norm import unit
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

COSINE = "cosine_attention"


def scaled(p: Problem, log_scale: Any, norm: Any = unit) -> Any:
    """Returns attention to the products of normalised vectors, times a scale per head."""
    options = {name: option for name, option in p.options.items() if name != "log_scale"}
    return attention(norm(p.q) * np.exp(log_scale)[:, None, None], norm(p.k), p.v, **{**options, "scale": 1.0})


@twin("a_scale_stops_at_100", "equals_angles", row=COSINE)
def scale_without_a_limit(f: Mechanism, p: Problem) -> Any:
    """The scale is not held at 100."""
    return scaled(p, p.options["log_scale"])


@twin("gradients_equal_angles", row=COSINE)
def slope_above_the_limit(f: Mechanism, p: Problem) -> Any:
    """The limit of the scale is taken for a rounding: a scale above it still has a gradient, and grows on."""
    log_scale = p.options["log_scale"]
    return scaled(p, log_scale + stopped(np.minimum(log_scale, np.log(100.0).astype(log_scale.dtype)) - log_scale))


@twin("equals_qk_norm_attention", "equals_angles", row=COSINE)
def cosines_scaled_again(f: Mechanism, p: Problem) -> Any:
    """The cosines are divided by the root of head_dim too."""
    return scaled(p, np.minimum(p.options["log_scale"], np.log(100.0)).astype(p.q.dtype) - np.log(p.q.dtype.type(p.q.shape[-1])) / 2)


@twin("vectors_have_no_length", "equals_angles", row=COSINE)
def epsilon_under_the_root(f: Mechanism, p: Problem) -> Any:
    """1e-6 is added to the square of a length, so that short vectors give smaller cosines."""
    def norm(x: Any) -> Any:
        return x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + x.dtype.type(1e-6))

    return scaled(p, np.minimum(p.options["log_scale"], np.log(100.0)).astype(p.q.dtype), norm)
