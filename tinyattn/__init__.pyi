# What type checkers and editors see of `import tinyattn`; written by tests/exports.py.

from tinyattn import caches as caches
from tinyattn import catalog as catalog
from tinyattn import definitions as definitions
from tinyattn import engine as engine
from tinyattn import fastest as fastest
from tinyattn import kernels as kernels
from tinyattn import laws as laws
from tinyattn import layers as layers
from tinyattn import models as models
from tinyattn import ops as ops
from tinyattn import parallel as parallel
from tinyattn import plot as plot
from tinyattn import testing as testing
from tinyattn.definitions import attention_scores as attention_scores
from tinyattn.definitions import attention_weights as attention_weights
from tinyattn.definitions import contextual_position_bias as contextual_position_bias
from tinyattn.definitions import delta_rule_chunked as delta_rule_chunked
from tinyattn.definitions import delta_rule_recurrent as delta_rule_recurrent
from tinyattn.definitions import gated_delta_rule_chunked as gated_delta_rule_chunked
from tinyattn.definitions import gated_delta_rule_recurrent as gated_delta_rule_recurrent
from tinyattn.definitions import gated_linear_attention_chunked as gated_linear_attention_chunked
from tinyattn.definitions import gated_linear_attention_parallel as gated_linear_attention_parallel
from tinyattn.definitions import gated_linear_attention_recurrent as gated_linear_attention_recurrent
from tinyattn.definitions import linear_attention_chunked as linear_attention_chunked
from tinyattn.definitions import linear_attention_parallel as linear_attention_parallel
from tinyattn.definitions import linear_attention_recurrent as linear_attention_recurrent
from tinyattn.definitions import retention_chunked as retention_chunked
from tinyattn.definitions import retention_parallel as retention_parallel
from tinyattn.definitions import retention_recurrent as retention_recurrent
from tinyattn.definitions import simple_gated_linear_attention_chunked as simple_gated_linear_attention_chunked
from tinyattn.definitions import simple_gated_linear_attention_parallel as simple_gated_linear_attention_parallel
from tinyattn.definitions import simple_gated_linear_attention_recurrent as simple_gated_linear_attention_recurrent
from tinyattn.definitions import spatial_gate as spatial_gate
from tinyattn.definitions import top_k_attention as top_k_attention
from tinyattn.engine import Tensor as Tensor
from tinyattn.engine import grad as grad
from tinyattn.engine import no_grad as no_grad
from tinyattn.engine import primitive as primitive
from tinyattn.engine import value_and_grad as value_and_grad
from tinyattn.engine import vjp as vjp
from tinyattn.fastest import attention as attention
from tinyattn.fastest import attention_with_lse as attention_with_lse
from tinyattn.fastest import axial_attention as axial_attention
from tinyattn.fastest import based as based
from tinyattn.fastest import bigbird_attention as bigbird_attention
from tinyattn.fastest import block_mixture_attention as block_mixture_attention
from tinyattn.fastest import block_sparse_attention as block_sparse_attention
from tinyattn.fastest import contextual_position_attention as contextual_position_attention
from tinyattn.fastest import cosformer as cosformer
from tinyattn.fastest import delta_rule as delta_rule
from tinyattn.fastest import differential_attention as differential_attention
from tinyattn.fastest import dual_chunk_attention as dual_chunk_attention
from tinyattn.fastest import dual_chunk_attention_merged as dual_chunk_attention_merged
from tinyattn.fastest import dynamic_contextual_attention as dynamic_contextual_attention
from tinyattn.fastest import gated_attention as gated_attention
from tinyattn.fastest import gated_delta_rule as gated_delta_rule
from tinyattn.fastest import gated_linear_attention as gated_linear_attention
from tinyattn.fastest import gathered_attention as gathered_attention
from tinyattn.fastest import global_subsampled_attention as global_subsampled_attention
from tinyattn.fastest import grouped_query_attention as grouped_query_attention
from tinyattn.fastest import latent_attention_absorbed as latent_attention_absorbed
from tinyattn.fastest import latent_attention_expanded as latent_attention_expanded
from tinyattn.fastest import linear_attention as linear_attention
from tinyattn.fastest import linformer_attention as linformer_attention
from tinyattn.fastest import locally_grouped_attention as locally_grouped_attention
from tinyattn.fastest import longformer_attention as longformer_attention
from tinyattn.fastest import lsh_attention as lsh_attention
from tinyattn.fastest import multi_head_attention as multi_head_attention
from tinyattn.fastest import multi_head_local_attention as multi_head_local_attention
from tinyattn.fastest import multi_query_attention as multi_query_attention
from tinyattn.fastest import native_sparse_attention as native_sparse_attention
from tinyattn.fastest import neighborhood_attention as neighborhood_attention
from tinyattn.fastest import nystrom_attention as nystrom_attention
from tinyattn.fastest import performer as performer
from tinyattn.fastest import qk_norm_attention as qk_norm_attention
from tinyattn.fastest import retention as retention
from tinyattn.fastest import shifted_sparse_attention as shifted_sparse_attention
from tinyattn.fastest import shifted_window_attention as shifted_window_attention
from tinyattn.fastest import simple_gated_linear_attention as simple_gated_linear_attention
from tinyattn.fastest import softmax_off_by_one_attention as softmax_off_by_one_attention
from tinyattn.fastest import streaming_attention as streaming_attention
from tinyattn.fastest import streaming_llm_attention as streaming_llm_attention
from tinyattn.ops import Bias as Bias
from tinyattn.ops import Pattern as Pattern
from tinyattn.ops import ScoreRule as ScoreRule
from tinyattn.ops import alibi as alibi
from tinyattn.ops import merge as merge
from tinyattn.ops import relative as relative
from tinyattn.ops import rotary as rotary

__version__: str

__all__ = [
    "Bias",
    "Pattern",
    "ScoreRule",
    "Tensor",
    "__version__",
    "alibi",
    "attention",
    "attention_scores",
    "attention_weights",
    "attention_with_lse",
    "axial_attention",
    "based",
    "bigbird_attention",
    "block_mixture_attention",
    "block_sparse_attention",
    "caches",
    "catalog",
    "contextual_position_attention",
    "contextual_position_bias",
    "cosformer",
    "definitions",
    "delta_rule",
    "delta_rule_chunked",
    "delta_rule_recurrent",
    "differential_attention",
    "dual_chunk_attention",
    "dual_chunk_attention_merged",
    "dynamic_contextual_attention",
    "engine",
    "fastest",
    "gated_attention",
    "gated_delta_rule",
    "gated_delta_rule_chunked",
    "gated_delta_rule_recurrent",
    "gated_linear_attention",
    "gated_linear_attention_chunked",
    "gated_linear_attention_parallel",
    "gated_linear_attention_recurrent",
    "gathered_attention",
    "global_subsampled_attention",
    "grad",
    "grouped_query_attention",
    "latent_attention_absorbed",
    "latent_attention_expanded",
    "laws",
    "layers",
    "linear_attention",
    "linear_attention_chunked",
    "linear_attention_parallel",
    "linear_attention_recurrent",
    "linformer_attention",
    "locally_grouped_attention",
    "longformer_attention",
    "lsh_attention",
    "merge",
    "models",
    "multi_head_attention",
    "multi_head_local_attention",
    "multi_query_attention",
    "native_sparse_attention",
    "neighborhood_attention",
    "no_grad",
    "nystrom_attention",
    "ops",
    "parallel",
    "performer",
    "plot",
    "primitive",
    "qk_norm_attention",
    "relative",
    "retention",
    "retention_chunked",
    "retention_parallel",
    "retention_recurrent",
    "rotary",
    "shifted_sparse_attention",
    "shifted_window_attention",
    "simple_gated_linear_attention",
    "simple_gated_linear_attention_chunked",
    "simple_gated_linear_attention_parallel",
    "simple_gated_linear_attention_recurrent",
    "softmax_off_by_one_attention",
    "spatial_gate",
    "streaming_attention",
    "streaming_llm_attention",
    "testing",
    "top_k_attention",
    "value_and_grad",
    "vjp",
]
