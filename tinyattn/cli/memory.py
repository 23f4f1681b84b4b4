"""Keeping freed memory in the process: a fresh 8 MB array costs more in page faults than in arithmetic."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3


def keep() -> None:
    """Tells glibc to reuse large blocks rather than give them back; does nothing elsewhere. 250 -> 220 ms a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, size in ((MMAP_THRESHOLD, 1 << 30), (TRIM_THRESHOLD, 2 ** 31 - 1), (TOP_PAD, 1 << 27)):
        mallopt(option, size)
