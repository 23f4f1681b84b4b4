"""Attention of each query to blocks of keys that it chose: rows that chose the same block are computed together.

Its files, in reading order:

    choose.py               which blocks each query reads
    gather.py               the rows that chose each block, and which pairs of them are hidden
    forward.py              blocks of keys with an online softmax per row
    backward.py             the backward: five products per tile of gathered rows
    primitive.py            forward and backward as one differentiable function
"""
