"""The same functions, fast: compiled with Numba, each with a backward of its own. Importing this imports Numba.

Its folders, in reading order. The folders that are named like those of the definitions hold the mechanisms; the others hold
what the mechanisms stand on.

    tiles/                  registers, products of tiles, threads
    exact/                  exact softmax attention over tiles of keys
    softmax/                the softmax mechanisms
"""

from tinyattn.kernels.exact.stored import paged_attention, quantized_attention
from tinyattn.kernels.softmax.dot_product import attention, attention_with_lse
from tinyattn.kernels.tiles.threads import threads

__all__ = ["attention", "attention_with_lse", "paged_attention", "quantized_attention", "threads"]
