"""Sparse attention as kernels, in terms of the exact kernel and of the kernels of chosen keys.

Its files, in reading order:

    local.py                a band, or a window of its own for each head
    gathered.py             the tiles of a pattern
    block_sparse.py         the tiles of a table of blocks
    longformer.py           windows and global columns, and the global rows
    bigbird.py              the tiles of neighbours, ends and random blocks
    picked.py               single keys that each query picked, some heads at a time
    top_k.py                the keys with the largest scores
    native_sparse.py        block means, selected blocks and a window
    block_mixture.py        blocks chosen by the means of their keys
    lightning_indexer.py    the keys that a few small heads choose for all heads
    by_index.py             attention to these keys, without a mask kept for the backward
    deepseek_sparse.py      the choice of an indexer as a mask
    hashes.py               what tokens are sorted by
    lsh.py                  chunks of tokens sorted by a hash
    streaming_llm.py        a window and the first tokens, merged
    shifted_sparse.py       the tiles of groups, shifted in half of the heads
"""
