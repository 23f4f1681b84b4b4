"""Attention of each query to keys that it chose: rows that chose the same block are computed together, single keys are gathered.

Its files, in reading order:

    choose.py               which blocks each query reads
    gather.py               the rows that chose each block, and their scores with its keys
    forward.py              blocks of keys with an online softmax per row
    backward.py             the backward: five products per tile of gathered rows
    primitive.py            forward and backward as one differentiable function
    branches.py             the three branches of native sparse attention as one such function
    candidates.py           the largest numbers of a row that are known so far
    largest.py              the keys with the largest scores of each row, tile by tile
    indexed.py              the keys that a lightning indexer chooses, as a mask
    keys.py                 products with single keys, and sums of their values
"""
