"""The same functions, fast: compiled with Numba, each with a backward of its own. Importing this imports Numba.

Its folders, in reading order. The folders that are named like those of the definitions hold the mechanisms; the others hold
what the mechanisms stand on.

    tiles/                  registers, products of tiles, threads
    rules/                  score rules, compiled
    exact/                  exact softmax attention over tiles of keys
    chosen/                 attention to blocks of keys that each query chose
    states/                 a state that tokens are folded into
    steps/                  what a training step has beside attention
    rows/                   rows of scores between two products
    weights.py              matrices as files store them
    softmax/                the softmax mechanisms
    sparse/                 mechanisms that visit some of the tiles
    linear/                 a state in the place of the keys
    lowrank/                mechanisms in which few keys stand for all
    spatial/                mechanisms on grids
"""

from tinyattn.kernels.exact.stored import paged_attention, quantized_attention
from tinyattn.kernels.linear.based import based
from tinyattn.kernels.linear.convolution import causal_convolution
from tinyattn.kernels.linear.cosformer import cosformer
from tinyattn.kernels.linear.delta import delta_rule
from tinyattn.kernels.linear.delta_product import delta_product
from tinyattn.kernels.linear.gated import gated_linear_attention
from tinyattn.kernels.linear.gated_delta import gated_delta_rule
from tinyattn.kernels.linear.generalized_delta import generalized_delta_rule
from tinyattn.kernels.linear.kimi_delta import kimi_delta_attention
from tinyattn.kernels.linear.lightning import lightning_attention
from tinyattn.kernels.linear.linear import linear_attention
from tinyattn.kernels.linear.log_linear import log_linear_attention
from tinyattn.kernels.linear.mesa import mesa
from tinyattn.kernels.linear.mlstm import mlstm
from tinyattn.kernels.linear.performer import performer
from tinyattn.kernels.linear.retention import retention
from tinyattn.kernels.linear.rwkv6 import rwkv6
from tinyattn.kernels.linear.rwkv7 import rwkv7
from tinyattn.kernels.linear.simple_gated import simple_gated_linear_attention
from tinyattn.kernels.lowrank.linformer import linformer_attention
from tinyattn.kernels.lowrank.nystrom import nystrom_attention
from tinyattn.kernels.softmax.cosine import cosine_attention
from tinyattn.kernels.softmax.counted import contextual_position_attention
from tinyattn.kernels.softmax.differential import differential_attention
from tinyattn.kernels.softmax.disentangled import disentangled_attention
from tinyattn.kernels.softmax.dot_product import attention, attention_with_lse
from tinyattn.kernels.softmax.dual_chunk import dual_chunk_attention
from tinyattn.kernels.softmax.dual_chunk_merged import dual_chunk_attention_merged
from tinyattn.kernels.softmax.dynamic_contextual import dynamic_contextual_attention
from tinyattn.kernels.softmax.entmax import entmax_attention
from tinyattn.kernels.softmax.forgetting import forgetting_attention
from tinyattn.kernels.softmax.gated import gated_attention
from tinyattn.kernels.softmax.grouped_query import grouped_query_attention
from tinyattn.kernels.softmax.latent_absorbed import latent_attention_absorbed
from tinyattn.kernels.softmax.latent_expanded import latent_attention_expanded
from tinyattn.kernels.softmax.multi_head import multi_head_attention
from tinyattn.kernels.softmax.multi_query import multi_query_attention
from tinyattn.kernels.softmax.off_by_one import softmax_off_by_one_attention
from tinyattn.kernels.softmax.path import path_attention
from tinyattn.kernels.softmax.qk_norm import qk_norm_attention
from tinyattn.kernels.softmax.relative_position import relative_position_attention
from tinyattn.kernels.softmax.scalable import scalable_softmax_attention
from tinyattn.kernels.softmax.sigmoid import sigmoid_attention
from tinyattn.kernels.softmax.sparsemax import sparsemax_attention
from tinyattn.kernels.softmax.stick_breaking import stick_breaking_attention, stick_breaking_attention_with_rest
from tinyattn.kernels.softmax.streaming import streaming_attention
from tinyattn.kernels.softmax.talking_heads import talking_heads_attention
from tinyattn.kernels.softmax.tensor_product import tensor_product_attention
from tinyattn.kernels.sparse.bigbird import bigbird_attention
from tinyattn.kernels.sparse.block_mixture import block_mixture_attention
from tinyattn.kernels.sparse.block_sparse import block_sparse_attention
from tinyattn.kernels.sparse.deepseek_sparse import deepseek_sparse_attention
from tinyattn.kernels.sparse.gathered import gathered_attention
from tinyattn.kernels.sparse.lightning_indexer import lightning_indexer
from tinyattn.kernels.sparse.local import multi_head_local_attention
from tinyattn.kernels.sparse.longformer import longformer_attention
from tinyattn.kernels.sparse.lsh import lsh_attention
from tinyattn.kernels.sparse.native_sparse import native_sparse_attention
from tinyattn.kernels.sparse.shifted_sparse import shifted_sparse_attention
from tinyattn.kernels.sparse.streaming_llm import streaming_llm_attention
from tinyattn.kernels.sparse.top_k import top_k_attention
from tinyattn.kernels.spatial.axial import axial_attention
from tinyattn.kernels.spatial.global_subsampled import global_subsampled_attention
from tinyattn.kernels.spatial.locally_grouped import locally_grouped_attention
from tinyattn.kernels.spatial.neighborhood import neighborhood_attention
from tinyattn.kernels.spatial.shifted_window import shifted_window_attention
from tinyattn.kernels.tiles.threads import threads

__all__ = [
    "attention",
    "attention_with_lse",
    "axial_attention",
    "based",
    "bigbird_attention",
    "block_mixture_attention",
    "block_sparse_attention",
    "causal_convolution",
    "contextual_position_attention",
    "cosformer",
    "cosine_attention",
    "deepseek_sparse_attention",
    "delta_product",
    "delta_rule",
    "differential_attention",
    "disentangled_attention",
    "dual_chunk_attention",
    "dual_chunk_attention_merged",
    "dynamic_contextual_attention",
    "entmax_attention",
    "forgetting_attention",
    "gated_attention",
    "gated_delta_rule",
    "gated_linear_attention",
    "gathered_attention",
    "generalized_delta_rule",
    "global_subsampled_attention",
    "grouped_query_attention",
    "kimi_delta_attention",
    "latent_attention_absorbed",
    "latent_attention_expanded",
    "lightning_attention",
    "lightning_indexer",
    "linear_attention",
    "linformer_attention",
    "locally_grouped_attention",
    "log_linear_attention",
    "longformer_attention",
    "lsh_attention",
    "mesa",
    "mlstm",
    "multi_head_attention",
    "multi_head_local_attention",
    "multi_query_attention",
    "native_sparse_attention",
    "neighborhood_attention",
    "nystrom_attention",
    "paged_attention",
    "path_attention",
    "performer",
    "qk_norm_attention",
    "quantized_attention",
    "relative_position_attention",
    "retention",
    "rwkv6",
    "rwkv7",
    "scalable_softmax_attention",
    "shifted_sparse_attention",
    "shifted_window_attention",
    "sigmoid_attention",
    "simple_gated_linear_attention",
    "softmax_off_by_one_attention",
    "sparsemax_attention",
    "stick_breaking_attention",
    "stick_breaking_attention_with_rest",
    "streaming_attention",
    "streaming_llm_attention",
    "talking_heads_attention",
    "tensor_product_attention",
    "threads",
    "top_k_attention",
]
