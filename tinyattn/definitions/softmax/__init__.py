"""Exact attention: every visible score is computed.

Its files, in reading order:

    dot_product.py          attention
    lse.py                  attention with its log-sum-exp
    weights.py              the weights of attention
    scores.py               the scores of attention, stage by stage
    multi_head.py           every query head has its own keys
    multi_query.py          all query heads share one head of keys
    grouped_query.py        groups of query heads share one head of keys
    streaming.py            one block of keys at a time
    off_by_one.py           a 1 in the denominator
    qk_norm.py              queries and keys normalised
    cosine.py               cosines, times a scale per head
    talking_heads.py        heads mixed before the softmax and after it
    relative_position.py    a product with a vector of the distance
    disentangled.py         distances that meet the content of both sides
    path.py                 tokens on the way that turn the query
    differential.py         one attention minus another
    gated.py                a gate on the output
    dynamic_contextual.py   each token sets how far back it looks
    forgetting.py           each token sets how much of the past is forgotten
    stick_breaking.py       each key takes a share of what nearer ones left
    sigmoid.py              a weight per pair, without a normaliser
    sparsemax.py            weights that fall linearly with the score
    entmax.py               from softmax to sparsemax and beyond
    scalable.py             scores that grow with the number of keys seen
    contextual_position.py  distance counts the tokens that gates select
    counted.py              attention with such positions
    dual_chunk.py           rotary positions that stay below a bound
    dual_chunk_merged.py    the same as three attentions, merged
    latent_expanded.py      keys and values computed from one small vector per token
    latent_absorbed.py      the same, reading the small vectors themselves
    tensor_product.py       queries, keys and values as sums of outer products
"""
