"""Sparse attention: not every visible score is computed.

Its files, in reading order:

    local.py                a window of its own for each head
    gathered.py             the blocks that somebody sees
    block_sparse.py         a table of blocks
    longformer.py           a window, and tokens that see all
    bigbird.py              neighbours, ends, and some at random
    top_k.py                the largest scores
    lsh.py                  those that a hash brings near
    native_sparse.py        means, chosen blocks, a window
    block_mixture.py        blocks chosen by their mean key
    streaming_llm.py        the first tokens and the last
    shifted_sparse.py       groups, shifted in half of the heads
"""
