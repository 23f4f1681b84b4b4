"""Cross-entropy: the bits, in nats, that a model's logits leave open about the next token."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import integers
from tinyattn.ops.signature import floating
from tinyattn.ops.softmax import row_shift
from tinyattn.ops.types import Array


def cross_entropy(logits: Array, targets: Array) -> Array:
    """Returns the mean of log sum_v exp(logits_v) - logits_target, natural log.

    logits (..., vocab), targets (...) of integers -> ().

    Raises:
        TypeError: targets that are not integers. ValueError: targets of another shape.
        IndexError: a target outside the vocabulary.

    >>> float(cross_entropy(np.zeros((2, 4)), np.array([0, 3]))) == float(np.log(4.0))
    True
    """
    logits, targets = floating("logits", logits), integers("targets", targets, least_axes=0)
    if not logits.ndim or not logits.shape[-1]:
        raise ValueError(f"logits: expected (..., vocab) with a vocab of 1 or more, got shape {logits.shape}")
    vocab = logits.shape[-1]
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets: expected shape {logits.shape[:-1]} for logits {logits.shape}, got {targets.shape}")
    if not targets.size:
        raise ValueError(f"targets: expected at least one, got shape {targets.shape}")
    if not 0 <= targets.min() <= targets.max() < vocab:
        raise IndexError(f"targets: expected 0 to {vocab - 1}, got {int(targets.min())} to {int(targets.max())}")
    shift = row_shift(np.max(logits, axis=-1, keepdims=True))
    with np.errstate(under="ignore"):
        total = np.sum(np.exp(logits - shift), axis=-1)
    chosen = logits.reshape(-1, vocab)[np.arange(targets.size), targets.reshape(-1)]
    return np.mean(np.log(total).reshape(-1) + shift.reshape(-1) - chosen)
