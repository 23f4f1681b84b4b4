"""Exact softmax attention over tiles of keys, forward, backward and for decoding.

Its files, in reading order:

    scores.py               from products of queries and keys to scores
    gates.py                contextual positions: registers of gates, and reading between two positions
    counted.py              contextual positions on a tile: running sums of gates, and the table of its queries
    forward.py              tiles of keys with an online softmax
    tasks.py                how a backward is shared out
    backward.py             the backward: five products per tile
    one_tile.py             heads that are one tile, such as windows
    one_tile_calls.py       which heads those are
    decode.py               few queries over many keys
    paged.py                the same through block tables
    unpack.py               codes as numbers again
    packed.py               the same over quantised keys and values
    line_rules.py           a score rule for few queries: the heads of a group together
    primitive.py            forward and backward as one differentiable function
    lines.py                few queries side by side, and what their kernels are told
    reading.py              keys in parts, in pages, quantised
    stored.py               the public functions for stored keys, with their checks
"""
