"""Sparse attention: not every visible score is computed.

Its files, in reading order:

    local.py                one window per head
    gathered.py             only blocks that contain a visible pair
    block_sparse.py         a table of blocks
    longformer.py           a window, and global tokens that see all keys
    bigbird.py              neighbouring, end and random blocks
    top_k.py                the keys with the largest scores
    lightning_indexer.py    the keys that a few small heads choose for all heads
    deepseek_sparse.py      attention to the keys of an indexer
    lsh.py                  tokens with the same hash
    native_sparse.py        block means, selected blocks and a window
    block_mixture.py        blocks chosen by the means of their keys
    streaming_llm.py        the first tokens and the last ones
    shifted_sparse.py       groups, shifted in half of the heads
"""
