"""Memory: a step that asks for too much is refused, and freed memory is kept, as fresh memory costs page faults."""

from __future__ import annotations

import ctypes

from tinyattn.models.config import LARGEST

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3


def check_batch(batch: int, context: int) -> None:
    """Raises ValueError for a training step whose logits alone would take more memory than any model may."""
    # The logits of a batch and their gradient; the rest of a step takes several times as much.
    if 2 * 4 * 256 * batch * context > LARGEST:
        raise ValueError(f"--batch: {batch} sequences of {context} bytes have more than {LARGEST >> 30} GiB of logits")


def keep() -> None:
    """Tells glibc to reuse large blocks rather than give them back; does nothing elsewhere. 250 -> 220 ms a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, size in ((MMAP_THRESHOLD, 1 << 30), (TRIM_THRESHOLD, 2 ** 31 - 1), (TOP_PAD, 1 << 27)):
        mallopt(option, size)
