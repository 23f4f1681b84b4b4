"""What each mechanism is: one file of NumPy per mechanism, in the order of its formula.

A definition takes arrays and returns arrays. It also takes a `tinyattn.Tensor`, on which NumPy's own functions work, and
then has gradients: the same code serves both.

Its files, in reading order:

    softmax/                every visible score is computed
    sparse/                 not every visible score is computed
    lowrank/                a few vectors represent all keys
    spatial/                tokens are cells of a grid
    linear/                 a state of fixed size replaces the keys
"""

from tinyattn.definitions.linear.based import based
from tinyattn.definitions.linear.convolution_recurrent import causal_convolution, causal_convolution_recurrent
from tinyattn.definitions.linear.cosformer import cosformer
from tinyattn.definitions.linear.delta_chunked import delta_rule_chunked
from tinyattn.definitions.linear.delta_product_chunked import delta_product_chunked
from tinyattn.definitions.linear.delta_product_recurrent import delta_product, delta_product_recurrent
from tinyattn.definitions.linear.delta_recurrent import delta_rule, delta_rule_recurrent
from tinyattn.definitions.linear.gated_chunked import gated_linear_attention, gated_linear_attention_chunked
from tinyattn.definitions.linear.gated_delta_chunked import gated_delta_rule_chunked
from tinyattn.definitions.linear.gated_delta_recurrent import gated_delta_rule, gated_delta_rule_recurrent
from tinyattn.definitions.linear.gated_parallel import gated_linear_attention_parallel
from tinyattn.definitions.linear.gated_recurrent import gated_linear_attention_recurrent
from tinyattn.definitions.linear.generalized_delta_chunked import generalized_delta_rule_chunked
from tinyattn.definitions.linear.generalized_delta_recurrent import generalized_delta_rule, generalized_delta_rule_recurrent
from tinyattn.definitions.linear.kimi_delta_chunked import kimi_delta_attention_chunked
from tinyattn.definitions.linear.kimi_delta_recurrent import kimi_delta_attention, kimi_delta_attention_recurrent
from tinyattn.definitions.linear.lightning_chunked import lightning_attention_chunked
from tinyattn.definitions.linear.lightning_recurrent import lightning_attention, lightning_attention_recurrent
from tinyattn.definitions.linear.linear_chunked import linear_attention_chunked
from tinyattn.definitions.linear.linear_parallel import linear_attention, linear_attention_parallel
from tinyattn.definitions.linear.linear_recurrent import linear_attention_recurrent
from tinyattn.definitions.linear.log_linear_recurrent import log_linear_attention, log_linear_attention_recurrent
from tinyattn.definitions.linear.mesa_recurrent import mesa, mesa_recurrent
from tinyattn.definitions.linear.mlstm_chunked import mlstm_chunked
from tinyattn.definitions.linear.mlstm_recurrent import mlstm, mlstm_recurrent
from tinyattn.definitions.linear.performer import performer
from tinyattn.definitions.linear.retention_chunked import retention_chunked
from tinyattn.definitions.linear.retention_parallel import retention, retention_parallel
from tinyattn.definitions.linear.retention_recurrent import retention_recurrent
from tinyattn.definitions.linear.rwkv6_chunked import rwkv6_chunked
from tinyattn.definitions.linear.rwkv6_recurrent import rwkv6, rwkv6_recurrent
from tinyattn.definitions.linear.rwkv7_chunked import rwkv7_chunked
from tinyattn.definitions.linear.rwkv7_recurrent import rwkv7, rwkv7_recurrent
from tinyattn.definitions.linear.simple_gated_chunked import simple_gated_linear_attention_chunked
from tinyattn.definitions.linear.simple_gated_parallel import simple_gated_linear_attention, simple_gated_linear_attention_parallel
from tinyattn.definitions.linear.simple_gated_recurrent import simple_gated_linear_attention_recurrent
from tinyattn.definitions.lowrank.linformer import linformer_attention
from tinyattn.definitions.lowrank.nystrom import nystrom_attention
from tinyattn.definitions.softmax.contextual_position import contextual_position_bias
from tinyattn.definitions.softmax.cosine import cosine_attention
from tinyattn.definitions.softmax.counted import contextual_position_attention
from tinyattn.definitions.softmax.differential import differential_attention
from tinyattn.definitions.softmax.disentangled import disentangled_attention
from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.definitions.softmax.dual_chunk import dual_chunk_attention
from tinyattn.definitions.softmax.dual_chunk_merged import dual_chunk_attention_merged
from tinyattn.definitions.softmax.dynamic_contextual import dynamic_contextual_attention
from tinyattn.definitions.softmax.entmax import entmax_attention
from tinyattn.definitions.softmax.forgetting import forgetting_attention
from tinyattn.definitions.softmax.gated import gated_attention
from tinyattn.definitions.softmax.grouped_query import grouped_query_attention
from tinyattn.definitions.softmax.latent_absorbed import latent_attention_absorbed
from tinyattn.definitions.softmax.latent_expanded import latent_attention_expanded
from tinyattn.definitions.softmax.lse import attention_with_lse
from tinyattn.definitions.softmax.multi_head import multi_head_attention
from tinyattn.definitions.softmax.multi_query import multi_query_attention
from tinyattn.definitions.softmax.off_by_one import softmax_off_by_one_attention
from tinyattn.definitions.softmax.path import path_attention
from tinyattn.definitions.softmax.qk_norm import qk_norm_attention
from tinyattn.definitions.softmax.relative_position import relative_position_attention
from tinyattn.definitions.softmax.scalable import scalable_softmax_attention
from tinyattn.definitions.softmax.scores import attention_scores
from tinyattn.definitions.softmax.sigmoid import sigmoid_attention
from tinyattn.definitions.softmax.sparsemax import sparsemax_attention
from tinyattn.definitions.softmax.stick_breaking import stick_breaking_attention, stick_breaking_attention_with_rest
from tinyattn.definitions.softmax.streaming import streaming_attention
from tinyattn.definitions.softmax.talking_heads import talking_heads_attention
from tinyattn.definitions.softmax.tensor_product import tensor_product_attention
from tinyattn.definitions.softmax.weights import attention_weights
from tinyattn.definitions.sparse.bigbird import bigbird_attention
from tinyattn.definitions.sparse.block_mixture import block_mixture_attention
from tinyattn.definitions.sparse.block_sparse import block_sparse_attention
from tinyattn.definitions.sparse.deepseek_sparse import deepseek_sparse_attention
from tinyattn.definitions.sparse.gathered import gathered_attention
from tinyattn.definitions.sparse.lightning_indexer import lightning_indexer
from tinyattn.definitions.sparse.local import multi_head_local_attention
from tinyattn.definitions.sparse.longformer import longformer_attention
from tinyattn.definitions.sparse.lsh import lsh_attention
from tinyattn.definitions.sparse.native_sparse import native_sparse_attention
from tinyattn.definitions.sparse.shifted_sparse import shifted_sparse_attention
from tinyattn.definitions.sparse.streaming_llm import streaming_llm_attention
from tinyattn.definitions.sparse.top_k import top_k_attention
from tinyattn.definitions.spatial.axial import axial_attention
from tinyattn.definitions.spatial.decomposed_position import decomposed_position_bias
from tinyattn.definitions.spatial.global_subsampled import global_subsampled_attention
from tinyattn.definitions.spatial.locally_grouped import locally_grouped_attention
from tinyattn.definitions.spatial.neighborhood import neighborhood_attention
from tinyattn.definitions.spatial.shifted_window import shifted_window_attention
from tinyattn.definitions.spatial.spatial_gate import spatial_gate
from tinyattn.ops.draws import lsh_rotations as lsh_rotations
from tinyattn.ops.draws import performer_projection as performer_projection
from tinyattn.ops.features import cosformer_features as cosformer_features
from tinyattn.ops.features import elu_plus_one as elu_plus_one
from tinyattn.ops.features import performer_features as performer_features
from tinyattn.ops.features import relu_features as relu_features
from tinyattn.ops.features import taylor_features as taylor_features
from tinyattn.ops.windows import relative_position_index as relative_position_index

__all__ = [
    "attention",
    "attention_scores",
    "attention_weights",
    "attention_with_lse",
    "axial_attention",
    "based",
    "bigbird_attention",
    "block_mixture_attention",
    "block_sparse_attention",
    "causal_convolution",
    "causal_convolution_recurrent",
    "contextual_position_attention",
    "contextual_position_bias",
    "cosformer",
    "cosine_attention",
    "decomposed_position_bias",
    "deepseek_sparse_attention",
    "delta_product",
    "delta_product_chunked",
    "delta_product_recurrent",
    "delta_rule",
    "delta_rule_chunked",
    "delta_rule_recurrent",
    "differential_attention",
    "disentangled_attention",
    "dual_chunk_attention",
    "dual_chunk_attention_merged",
    "dynamic_contextual_attention",
    "entmax_attention",
    "forgetting_attention",
    "gated_attention",
    "gated_delta_rule",
    "gated_delta_rule_chunked",
    "gated_delta_rule_recurrent",
    "gated_linear_attention",
    "gated_linear_attention_chunked",
    "gated_linear_attention_parallel",
    "gated_linear_attention_recurrent",
    "gathered_attention",
    "generalized_delta_rule",
    "generalized_delta_rule_chunked",
    "generalized_delta_rule_recurrent",
    "global_subsampled_attention",
    "grouped_query_attention",
    "kimi_delta_attention",
    "kimi_delta_attention_chunked",
    "kimi_delta_attention_recurrent",
    "latent_attention_absorbed",
    "latent_attention_expanded",
    "lightning_attention",
    "lightning_attention_chunked",
    "lightning_attention_recurrent",
    "lightning_indexer",
    "linear_attention",
    "linear_attention_chunked",
    "linear_attention_parallel",
    "linear_attention_recurrent",
    "linformer_attention",
    "locally_grouped_attention",
    "log_linear_attention",
    "log_linear_attention_recurrent",
    "longformer_attention",
    "lsh_attention",
    "mesa",
    "mesa_recurrent",
    "mlstm",
    "mlstm_chunked",
    "mlstm_recurrent",
    "multi_head_attention",
    "multi_head_local_attention",
    "multi_query_attention",
    "native_sparse_attention",
    "neighborhood_attention",
    "nystrom_attention",
    "path_attention",
    "performer",
    "qk_norm_attention",
    "relative_position_attention",
    "retention",
    "retention_chunked",
    "retention_parallel",
    "retention_recurrent",
    "rwkv6",
    "rwkv6_chunked",
    "rwkv6_recurrent",
    "rwkv7",
    "rwkv7_chunked",
    "rwkv7_recurrent",
    "scalable_softmax_attention",
    "shifted_sparse_attention",
    "shifted_window_attention",
    "sigmoid_attention",
    "simple_gated_linear_attention",
    "simple_gated_linear_attention_chunked",
    "simple_gated_linear_attention_parallel",
    "simple_gated_linear_attention_recurrent",
    "softmax_off_by_one_attention",
    "sparsemax_attention",
    "spatial_gate",
    "stick_breaking_attention",
    "stick_breaking_attention_with_rest",
    "streaming_attention",
    "streaming_llm_attention",
    "talking_heads_attention",
    "tensor_product_attention",
    "top_k_attention",
]
