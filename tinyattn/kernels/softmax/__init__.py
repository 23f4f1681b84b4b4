"""The softmax mechanisms as kernels, in terms of the exact kernel.

Its files, in reading order:

    dot_product.py          attention, with its checks
    multi_head.py           a kv head per query head
    multi_query.py          one kv head for all query heads
    grouped_query.py        a kv head per group of query heads
    streaming.py            attention, a tile of keys at a time
    part.py                 some heads or keys of a call
    around.py               factors, gates and a difference around the kernel, a part of the rows at a time
    norms.py                norms before it
    off_by_one.py           a sink of 0
    qk_norm.py              queries and keys normalised first
    cosine.py               unit queries and keys, and a scale per head
    row_scores.py           what scores are made of, for some rows of queries
    row_blocks.py           the rows that are made at a time, and the keys that they see
    by_rows.py              attention by such scores, some rows at a time
    talking_heads.py        heads mixed before the softmax and after it
    relative_position.py    products with vectors of distances, along diagonals
    disentangled.py         the same, gathered
    path.py                 reflections, a chunk of keys at a time
    dynamic_contextual.py   each token sets how far back it looks
    counted.py              positions that gates count
    counts.py               how many keys each query sees
    weighed.py              weights that are no softmax, a block of rows at a time
    forgetting.py           running sums of gates in a score rule
    stick_breaking.py       shares of what nearer keys leave, a block of rows at a time
    sigmoid.py              sigmoids by a softmax over their logs
    entmax.py               weights above a threshold, a block of rows at a time
    sparsemax.py            entmax with alpha 2
    scalable.py             queries scaled by the number of keys that they see
    gated.py                a gate afterwards
    differential.py         the difference of two calls
    dual_chunk.py           three parts, merged
    dual_chunk_merged.py    the same
    some_heads.py           queries, keys and values made for some heads at a time
    latent_expanded.py      keys and values of every head from one latent vector
    latent_absorbed.py      the latent vectors as the one head of keys and values
    tensor_product.py       sums of outer products
"""
