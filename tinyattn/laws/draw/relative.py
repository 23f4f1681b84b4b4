"""Problems of attention that scores how tokens relate: cosines, mixtures of heads, tables of distances, directions between tokens."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.draw.options import but, given, on, with_options
from tinyattn.laws.draw.sizes import ordinary
from tinyattn.laws.draw.softmax import sloped, softmax, without
from tinyattn.laws.draw.variants import long_vectors
from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array

UNSCALED = without(["scale"])


def log_scales(rng: np.random.Generator, p: Problem) -> Array:
    """Draws the log of one scale per head; the first is above the limit half of the time."""
    logs = 2.0 * rng.random(p.q.shape[-3])
    return np.where((np.arange(len(logs)) == 0) & (rng.random() < 0.5), 6.0, logs).astype(p.q.dtype)


def one_scale(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one scale for all heads."""
    return np.full(p.q.shape[-3], 2.0 * rng.random()).astype(p.q.dtype)


COSINE = with_options(softmax(*UNSCALED), log_scale=log_scales)
COSINE_SLOPES = on(with_options(sloped(*without(["scale", "sinks"])), log_scale=log_scales), ordinary)
COSINE_CAUSAL = with_options(given(softmax("softcap", "sinks"), causal=True), log_scale=log_scales)
COSINE_LONG = with_options(but(softmax("causal", "mask", "bias", "window"), lambda p: long_vectors(p).without("scale"), fit=ordinary),
                           log_scale=one_scale)
