"""Cross-entropy: the bits, in nats, that a model's logits leave open about the next token."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.softmax import row_shift
from tinyattn.ops.types import Array


def cross_entropy(logits: Array, targets: Array, *, ignore: int | None = None) -> Array:
    """Returns the mean of log sum_v exp(logits_v) - logits_target, natural log.

    logits (..., vocab), targets (...) of integers -> (). Targets equal to `ignore` count neither in the sum nor in the
    number that it is divided by, and their logits have no gradient. float16 and bfloat16 are computed in float32.

    Raises:
        TypeError: logits that are no floating array, targets that are not integers, an `ignore` that is no integer.
        ValueError: targets of another shape; no target, or none but ignored ones, of which there is no mean.
        IndexError: a target outside the vocabulary.

    >>> float(cross_entropy(np.zeros((2, 4)), np.array([0, 3]))) == float(np.log(4.0))
    True
    >>> float(cross_entropy(np.zeros((2, 4)), np.array([0, -100]), ignore=-100)) == float(np.log(4.0))
    True
    """
    dtype = getattr(logits, "dtype", None)
    if dtype is None or not (dtype.kind == "f" or dtype.name == "bfloat16"):
        raise TypeError(f"logits: expected a floating array, got {type(logits).__name__ if dtype is None else dtype}")
    targets = np.asarray(targets)
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets: expected integers, got {targets.dtype}")
    if ignore is not None and (isinstance(ignore, bool) or not isinstance(ignore, (int, np.integer))):
        raise TypeError(f"ignore: expected an integer or None, got {ignore!r}")
    if not logits.ndim or targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets: expected shape {logits.shape[:-1]} for logits {logits.shape}, got {targets.shape}")
    vocab = logits.shape[-1]
    rows, targets = logits.reshape(-1, vocab) if targets.size else logits, targets.reshape(-1)
    if ignore is not None and targets.size:
        counted = np.flatnonzero(targets != int(ignore))
        if not counted.size:
            raise ValueError(f"targets: every one is the ignored {ignore}, which leaves nothing to average")
        if counted.size < targets.size:
            rows, targets = rows[counted], targets[counted]
    if not targets.size:
        raise ValueError(f"targets: expected at least one, got shape {logits.shape[:-1]}")
    if not 0 <= targets.min() <= targets.max() < vocab:
        raise IndexError(f"targets: expected 0 to {vocab - 1}, got {int(targets.min())} to {int(targets.max())}")
    if dtype.itemsize == 2:
        rows = rows.astype(np.float32)
    shift = row_shift(np.max(rows, axis=-1, keepdims=True))
    with np.errstate(under="ignore"):
        total = np.sum(np.exp(rows - shift), axis=-1)
    chosen = rows[np.arange(targets.size), targets]
    return np.mean(np.log(total) + shift[:, 0] - chosen).astype(dtype)
