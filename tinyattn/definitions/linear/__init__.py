"""Linear attention: a state of fixed size replaces the keys and values.

Its files, in reading order:

    linear_parallel.py         linear attention, all pairs at once
    linear_recurrent.py        the same, one token at a time
    linear_chunked.py          the same, one chunk at a time
    gated_parallel.py          a state that decays per channel, all pairs at once
    gated_recurrent.py         the same, one token at a time
    gated_chunked.py           the same, one chunk at a time
    simple_gated_parallel.py   a decay that all channels share, all pairs at once
    simple_gated_recurrent.py  the same, one token at a time
    simple_gated_chunked.py    the same, one chunk at a time
    retention_parallel.py      a fixed decay per head, all pairs at once
    retention_recurrent.py     the same, one token at a time
    retention_chunked.py       the same, one chunk at a time
    gated_delta_recurrent.py   a state that decays and is corrected, one token at a time
    gated_delta_chunked.py     the same, one chunk at a time
    delta_recurrent.py         a state that is corrected, without decay, one token at a time
    delta_chunked.py           the same, one chunk at a time
    mesa_recurrent.py          a regression of the values on the keys, fitted anew at every token
    log_linear_recurrent.py    one state per level of a tree over the past
    lightning_recurrent.py     a fixed slope per head, one token at a time
    lightning_chunked.py       the same, one chunk at a time
    rwkv6_recurrent.py         a state that is read before the token is written, one token at a time
    rwkv6_chunked.py           the same, one chunk at a time
    mlstm_recurrent.py         an exponential input gate and a normaliser, one token at a time
    mlstm_chunked.py           the same, one chunk at a time
    convolution_recurrent.py   each channel mixed with the tokens just before, one token at a time
    generalized_delta_recurrent.py  a state that each token reads along one vector and writes along another, one token at a time
    generalized_delta_chunked.py  the same, one chunk at a time
    kimi_delta_recurrent.py    a state that decays per channel and is corrected, one token at a time
    kimi_delta_chunked.py      the same, one chunk at a time
    delta_product_recurrent.py  several corrections per token, one token at a time
    delta_product_chunked.py   the same, one chunk at a time
    rwkv7_recurrent.py         a state from which each token removes at a rate per channel, one token at a time
    rwkv7_chunked.py           the same, one chunk at a time
    based.py                   linear attention with the first terms of an exponential
    cosformer.py               with positive features that fade with the distance
    performer.py               with random features
"""
