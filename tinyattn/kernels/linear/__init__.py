"""Linear attention over the kernel of states.

Its files, in reading order:

    parts.py                long texts part by part
    linear.py               linear attention
    gated.py                a state that decays per channel
    simple_gated.py         a decay that all channels share
    retention.py            a fixed decay per head
    gated_delta.py          a state that decays and is corrected
    delta.py                a state that is corrected, without decay
    mesa.py                 a regression solved for many tokens at once
    generalized_delta.py    a state that each token reads along one vector and writes along another
    kimi_delta.py           a state that decays per channel and is corrected
    rwkv7.py                a state from which each token removes at a rate per channel
    log_linear.py           one state per level
    lightning.py            a fixed slope per head
    rwkv6.py                a state that is read before the token is written
    mlstm.py                an exponential input gate and a normaliser
    convolution.py          each channel mixed with the tokens just before
    delta_product.py        several corrections per token
    based.py                linear attention with the first terms of an exponential
    cosformer.py            with positive features that fade with the distance
    random_features.py      random features, block by block
    performer.py            with random features
"""
