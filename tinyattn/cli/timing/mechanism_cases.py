"""The mechanisms as they are timed, and the kernels that no row is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.cli.timing.mechanism_arguments import (
    by_distance,
    chosen,
    directions,
    factors,
    gated,
    hashed,
    indexed,
    latent,
    projected,
    table_of,
    two_keys,
    with_heads,
)
from tinyattn.cli.timing.mechanism_case import DIM, HEADS, LONG, TILE, Case, grid_of
from tinyattn.ops import alibi, masks
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.masks.published import near_blocks
from tinyattn.ops.neighbours import Axis, neighbours
from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array

# The names of `tinyattn.kernels` without a row, and why they have none.
WITHOUT_ROW = {
    "attention_with_lse": "is attention, which also returns the logarithms of its sums",
    "stick_breaking_attention_with_rest": "is stick_breaking_attention, which also returns the weight that is left over",
    "paged_attention": "serves a cache, which `tinyattn time caches` measures",
    "quantized_attention": "serves a cache, which `tinyattn time caches` measures",
    "threads": "sets the number of threads",
}


def near_cells(length: int) -> Any:
    """Returns which cell of a grid is in the 7 x 7 neighbourhood of which."""
    rows, columns = (neighbours(Axis(side, 7, 1, 1, False))[0] for side in grid_of(length))
    width = len(columns)

    def see(i: Array, j: Array) -> Array:
        down, along = (table[own][..., [0, -1]] for table, own in ((rows, i // width), (columns, i % width)))
        seen: Array = (down[..., 0] <= j // width) & (j // width <= down[..., 1])
        return seen & (along[..., 0] <= j % width) & (j % width <= along[..., 1])

    return masks.Pattern(see)


def causal(pattern: Any) -> Any:
    """Returns a pattern without later keys."""
    return masks.causal() & pattern


CASES = (
    Case("attention", {"causal": True}),
    Case("attention", {"causal": True, "softcap": 20.0}, variant="softcap"),
    Case("attention", {"causal": True, "bias": alibi(np.linspace(0.1, 0.8, HEADS, dtype=np.float32))}, variant="ALiBi"),
    Case("attention", {"causal": True, "score": lambda s, i, j: 0.9 * s - 0.1 * abs(i - j)}, variant="a rule"),
    Case("multi_head_attention", {"causal": True}),
    Case("grouped_query_attention", {"causal": True}, with_heads(2)),
    Case("multi_query_attention", {"causal": True}, with_heads(1)),
    Case("streaming_attention", {"causal": True}),
    Case("relative_position_attention", {"causal": True},
         lambda q, k, v: {"q": q, "k": k, "v": v, "relative": k[0], "u": q[0, :, 0], "w": q[0, :, 1]}),
    Case("disentangled_attention", {"causal": True}, by_distance),
    Case("tensor_product_attention", {"causal": True}, factors),
    # The definition's gradient keeps a copy of the queries per key.
    Case("path_attention", {}, lambda q, k, v: gated("beta")(q, k, v) | {"w": unit(v)}, defined=128),
    Case("dynamic_contextual_attention", {"ramp": 32.0}, lambda q, k, v: {"q": q, "k": k, "v": v, "span": np.abs(q[..., 0]) * 512}),
    Case("contextual_position_attention", {}, lambda q, k, v: {"q": q, "k": k, "v": v, "embedding": q[0, 0, :64]}),
    Case("softmax_off_by_one_attention", {"causal": True}),
    Case("qk_norm_attention", {"causal": True}),
    Case("forgetting_attention", {}, lambda q, k, v: {"q": q, "k": k, "v": v, "log_forget": -0.01 * np.abs(q[..., 0])}),
    Case("scalable_softmax_attention", {"causal": True, "factor": 0.3}),
    Case("sigmoid_attention", {"causal": True}),
    Case("stick_breaking_attention", {}),
    Case("sparsemax_attention", {"causal": True}),
    Case("entmax_attention", {"causal": True}),
    Case("cosine_attention", {"causal": True}, lambda q, k, v: {"q": q, "k": k, "v": v, "log_scale": q[0, :, 0, 0]}),
    Case("talking_heads_attention", {"causal": True},
         lambda q, k, v: {"q": q, "k": k, "v": v, "before": q[0, 0, :HEADS, :HEADS], "after": q[0, 1, :HEADS, :HEADS]}),
    Case("gated_attention", {"causal": True}, lambda q, k, v: {"q": q, "k": k, "v": v, "gate": q[..., 0]}),
    Case("differential_attention", {"causal": True, "lambda_": 0.3},
         lambda q, k, v: {"q1": q, "k1": k, "q2": k, "k2": q, "v": v}, times=2),
    Case("latent_attention_expanded", {"causal": True}, latent),
    Case("latent_attention_absorbed", {"causal": True}, latent),
    # The definition adds the scores of one pair of channels after the other.
    Case("dual_chunk_attention", {"chunk": 2048, "local": 512}, defined=256),
    Case("dual_chunk_attention_merged", {"chunk": 2048, "local": 512}),
    Case("multi_head_local_attention", {"window": 256}, seen=lambda length: masks.sliding_window(256)),
    Case("longformer_attention", {"window": 256, "global_tokens": range(64)},
         lambda q, k, v: {"q": q, "k": k, "v": v, "q_global": q, "k_global": k, "v_global": v},
         lambda length: masks.window(256, 256) | masks.global_tokens(range(64))),
    Case("bigbird_attention", {"block": 64, "random": 3, "seed": 0, "causal": True},
         seen=lambda length: causal(near_blocks(64) | masks.random_blocks(64, 3, 0) | masks.first(64))),
    Case("block_sparse_attention", {"q_block": TILE, "kv_block": TILE, "causal": True}, table_of,
         lambda length: causal(masks.Pattern(lambda i, j: chosen(length // TILE)[i // TILE, j // TILE]))),
    Case("gathered_attention", {"mask": masks.sliding_window(256)}, seen=lambda length: masks.sliding_window(256)),
    Case("shifted_sparse_attention", {"group": 512}, seen=lambda length: causal(masks.per_head(
        [masks.block_local(512)] * (HEADS // 2) + [masks.shifted_blocks(512, 256)] * (HEADS // 2)))),
    Case("streaming_llm_attention", {"first": 4, "window": 1024}, seen=lambda length: causal(masks.window(1023, 0) | masks.first(4))),
    # Counted by tiles of 64 keys: 16 chosen ones, a window of 8 and the means of blocks; half of its own block of 8, and three whole.
    Case("native_sparse_attention", {"block": 64, "selected": 16, "window": 512},
         lambda q, k, v: {"q": q, "k": k, "v": v, "gates": sigmoid(q[..., :3])}, products=50),
    Case("top_k_attention", {"keep": 64, "causal": True}),
    Case("deepseek_sparse_attention", {"keep": 512}, indexed),
    # One product per pair in place of two. Its result, a mask, is square and has no gradient.
    Case("lightning_indexer", {"keep": 512}, lambda q, k, v: {"q": q, "k": k[:, 0], "weights": q[..., 0]}, times=0.5, gradients=False),
    # Each of the 4 hashes reads two chunks of keys per chunk of queries.
    Case("lsh_attention", {"chunk": TILE, "causal": True}, hashed, products=16),
    Case("block_mixture_attention", {"block": 512, "keep": 4}, products=57),
    Case("neighborhood_attention", {"kernel": 7}, seen=near_cells, grid=True),
    Case("shifted_window_attention", {"window": 8}, products=2, grid=True),
    Case("locally_grouped_attention", {"window": 8}, products=2, grid=True),
    Case("axial_attention", {"axis": 0}, products=2, grid=True),
    # One mean per 64 cells, so that LONG cells read two tiles of them.
    Case("global_subsampled_attention", {"ratio": 8}, products=4, grid=True),
    # The keys and the values are projected, 4 products each, and read, 4 each.
    Case("linformer_attention", {}, projected, products=16),
    Case("nystrom_attention", {"landmarks": 64}, products=4),
    Case("linear_attention", {"causal": True}, products=4),
    Case("retention", {}, gated("heads"), products=4),
    Case("simple_gated_linear_attention", {}, gated("log_decay"), products=4),
    Case("gated_linear_attention", {}, gated("channels"), products=4),
    Case("delta_rule", {}, gated("beta"), products=6.5),
    # The keys' products of the delta rule twice, but one product of a query with the state.
    Case("delta_product", {"steps": 2}, two_keys, products=12),
    Case("gated_delta_rule", {}, gated("log_decay", "beta"), products=6.5),
    Case("lightning_attention", {}, gated("slopes"), products=4),
    Case("rwkv6", {}, gated("channels", "bonus"), products=4),
    Case("mlstm", {}, gated("input_gate", "forget_gate"), products=4),
    Case("kimi_delta_attention", {}, gated("channels", "beta"), products=6.5),
    Case("generalized_delta_rule", {}, gated("channels", "read", "write"), products=6.5),
    Case("rwkv7", {}, gated("channels", "removal", "rate"), products=6.5),
    # In place of one state a chunk reads one for each bit that is set in its number: half of 7 on average at 8,192 tokens.
    Case("log_linear_attention", {}, lambda q, k, v: gated("log_decay")(q, k, v) | {
        "level_scales": sigmoid(q[..., :1] + np.zeros(1 + (q.shape[-2] - 1).bit_length(), q.dtype))}, products=6.5, defined=256),
    Case("cosformer", {"causal": True, "max_length": LONG}, products=7),
    # 16 channels have 1 + 16 + 16 x 17 / 2 features, so that the state has 153 rows in place of 64; scores are products of channels.
    Case("based", {"causal": True}, lambda q, k, v: {"q": q[..., :16], "k": k[..., :16], "v": v}, products=6.0),
    # 128 features take twice the products with the state (4) and with each other (2), and to be made (4); the values take 1.
    Case("performer", {"causal": True}, directions, products=11),
    # A solution per token takes 2 / 3 of 64 x 64 x 64 multiply-adds, as 21 products do; the sums and what reads them take 5.
    Case("mesa", {}, gated("log_decay", "beta", "ridge"), products=26, defined=256),
    # A channel of a token takes 4 multiply-adds, where a product takes 64.
    Case("causal_convolution", {}, lambda q, k, v: {"x": q.swapaxes(-1, -2).reshape(1, -1, q.shape[-2]),
                                                    "weight": k[0, 0, 0, :4] + np.zeros((HEADS * DIM, 1), q.dtype)}, products=0.0625),
)
