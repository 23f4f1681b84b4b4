"""The memory that a call takes."""

import tracemalloc

from tinyattn.kernels.tiles import pages


def peak_of(call):
    """Returns (the most bytes that a call holds at a time, what it returned); pages are counted even if they waited before."""
    pages.kept.clear()
    tracemalloc.start()
    try:
        found = call()
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()
