"""Exact attention: every visible score is computed.

Its files, in reading order:

    dot_product.py          attention
    lse.py                  attention with its log-sum-exp
    weights.py              the weights of attention
    multi_head.py           every query head has keys of its own
    multi_query.py          all query heads share one head of keys
    grouped_query.py        groups of query heads share one head of keys
    streaming.py            one block of keys at a time
    off_by_one.py           a 1 in the denominator
    qk_norm.py              queries and keys of one length
    differential.py         one attention minus another
    gated.py                a gate on what was read
    dynamic_contextual.py   each token says how far it looks
    contextual_position.py  positions that count what is worth counting
    dual_chunk.py           positions that never grow beyond training's
    latent.py               keys and values out of one small vector
"""
