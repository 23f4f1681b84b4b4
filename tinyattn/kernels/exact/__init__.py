"""Exact softmax attention over tiles of keys, forward, backward and for decoding.

Its files, in reading order:

    scores.py               from products of queries and keys to scores
    counted.py              contextual positions: running sums of gates
    forward.py              tiles of keys with an online softmax
    backward.py             the backward: five products per tile
    decode.py               few queries over many keys
    paged.py                the same through block tables
    unpack.py               codes as numbers again
    packed.py               the same over quantised keys and values
    primitive.py            forward and backward as one differentiable function
    turning.py              queries that are turned from one chunk of keys to the one before
    reading.py              keys in parts, in pages, quantised
    stored.py               the public functions for stored keys, with their checks
"""
