"""Cross-entropy: how unlikely a model's logits make the next token, in nats."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import LARGEST, integers, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.softmax import row_shift
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@widened
def cross_entropy(logits: Array, targets: Array, *, ignore: int | None = None) -> Array:
    """Returns the mean of log sum_v exp(logits_v) - logits_target, natural log.

    logits (..., vocab), targets (...) of integers -> (). Targets equal to `ignore` are left out of the mean, and their
    logits have gradient 0. float16 and bfloat16 are computed in float32.

    Raises:
        TypeError: the logits are not a floating array, or the targets or `ignore` are not integers.
        ValueError: the targets have another shape, or there are no targets besides ignored ones, so that there is no mean.
        IndexError: a target is outside the vocabulary.

    >>> float(cross_entropy(np.zeros((2, 4)), np.array([0, 3]))) == float(np.log(4.0))
    True
    >>> float(cross_entropy(np.zeros((2, 4)), np.array([0, -100]), ignore=-100)) == float(np.log(4.0))
    True
    """
    logits, targets = floating("logits", logits), integers("targets", targets, least_axes=0)
    if not logits.ndim or not logits.shape[-1]:
        raise ValueError(f"logits: expected (..., vocab) with a vocab of 1 or more, got shape {logits.shape}")
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets: expected shape {logits.shape[:-1]} for logits {logits.shape}, got {targets.shape}")
    vocab = logits.shape[-1]
    rows, targets = logits.reshape(-1, vocab), targets.reshape(-1)
    if not targets.size:
        raise ValueError(f"targets: expected at least one, got shape {logits.shape[:-1]}")
    if ignore is not None:
        counted = np.flatnonzero(targets != whole("ignore", ignore, -LARGEST))
        if not counted.size:
            raise ValueError(f"targets: all of them equal the ignored {ignore}, which leaves nothing to average")
        if counted.size < targets.size:
            rows, targets = rows[counted], targets[counted]
    if not 0 <= targets.min() <= targets.max() < vocab:
        raise IndexError(f"targets: expected 0 to {vocab - 1}, got {int(targets.min())} to {int(targets.max())}")
    shift = row_shift(np.max(rows, axis=-1, keepdims=True))
    with np.errstate(under="ignore"):
        total = np.sum(np.exp(rows - shift), axis=-1)
    return np.mean(np.log(total) + shift[:, 0] - rows[np.arange(targets.size), targets])
