"""How surprised a model is by each token of a text."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.softmax import logsumexp
from tinyattn.ops.types import Array


def of_targets(logits: Array, targets: Array) -> Array:
    """Returns -log p of targets (n,) from the first n rows of logits (n or more, vocab), in float64.

    >>> of_targets(np.zeros((2, 4)), np.array([3])).round(3)
    array([1.386])
    """
    rows = logits[: len(targets)].astype(np.float64)
    return logsumexp(rows) - rows[np.arange(len(targets)), targets]
