"""Linear attention: a state of fixed size stands in the place of the keys.

Its files, in reading order:

    linear_parallel.py      linear attention, all pairs at once
    linear_recurrent.py     the same, one token at a time
    linear_chunked.py       the same, one chunk at a time
    gated_parallel.py       a state that decays per channel, all pairs at once
    gated_recurrent.py      the same, one token at a time
    gated_chunked.py        the same, one chunk at a time
    simple_gated.py         a decay that all channels share
    retention.py            a fixed decay per head
    gated_delta_recurrent.py  a state that decays and is corrected, one token at a time
    gated_delta_chunked.py  the same, one chunk at a time
    delta.py                a state that is corrected, without decay
"""
