"""The same functions, fast: compiled with Numba, each with a backward of its own. Importing this imports Numba.

Its files, in reading order:

    jit.py                  compiled when first called, kept on disk
    lanes.py                the registers of this machine, exp and tanh on them
    tile.py                 the tile product
    vector.py               softmax on a tile, a register at a time
    dots.py                 inner products, where there are few queries
    threads.py              tasks over threads
    storage.py              arrays as kernels read them
    seen.py                 masks as kernels read them
    scores.py               from products to scores
    attention_forward.py    tiles, an online softmax
    attention_backward.py   five products a tile
    decode.py               few queries, many keys
    paged.py                the same through block tables
    unpack.py               codes as numbers again
    packed.py               the same over packed keys
    exact.py                forward and backward as one primitive
    reading.py              keys in parts, in pages, packed
    stored.py               the doors to stored keys, checked
    attention.py            the door
"""

from tinyattn.kernels.attention import attention, attention_with_lse
from tinyattn.kernels.stored import paged_attention, quantized_attention
from tinyattn.kernels.threads import threads

__all__ = ["attention", "attention_with_lse", "paged_attention", "quantized_attention", "threads"]
