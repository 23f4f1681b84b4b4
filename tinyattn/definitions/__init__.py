"""What each mechanism is: one file of NumPy a mechanism, in the order of its formula.

A definition takes arrays and returns arrays. It also takes `tinyattn.Tensor`, which answers NumPy's own functions,
and then has gradients; it never knows the difference.
"""

from tinyattn.definitions.linear.delta import (
    delta_rule,
    delta_rule_chunked,
    delta_rule_recurrent,
    gated_delta_rule,
    gated_delta_rule_chunked,
    gated_delta_rule_recurrent,
)
from tinyattn.definitions.linear.gated import (
    gated_linear_attention,
    gated_linear_attention_chunked,
    gated_linear_attention_parallel,
    gated_linear_attention_recurrent,
)
from tinyattn.definitions.linear.linear import (
    linear_attention,
    linear_attention_chunked,
    linear_attention_parallel,
    linear_attention_recurrent,
)
from tinyattn.definitions.linear.retention import (
    retention,
    retention_chunked,
    retention_parallel,
    retention_recurrent,
    simple_gated_linear_attention,
    simple_gated_linear_attention_chunked,
    simple_gated_linear_attention_parallel,
    simple_gated_linear_attention_recurrent,
)
from tinyattn.definitions.softmax.differential import differential_attention
from tinyattn.definitions.softmax.dot_product import attention, attention_weights, attention_with_lse
from tinyattn.definitions.softmax.gated import gated_attention
from tinyattn.definitions.softmax.grouped import grouped_query_attention, multi_head_attention, multi_query_attention
from tinyattn.definitions.softmax.latent import latent_attention_absorbed, latent_attention_expanded
from tinyattn.definitions.softmax.off_by_one import softmax_off_by_one_attention
from tinyattn.definitions.softmax.qk_norm import qk_norm_attention
from tinyattn.definitions.softmax.streaming import streaming_attention
from tinyattn.definitions.sparse.local import multi_head_local_attention

__all__ = [
    "attention",
    "attention_weights",
    "attention_with_lse",
    "delta_rule",
    "delta_rule_chunked",
    "delta_rule_recurrent",
    "differential_attention",
    "gated_attention",
    "gated_delta_rule",
    "gated_delta_rule_chunked",
    "gated_delta_rule_recurrent",
    "gated_linear_attention",
    "gated_linear_attention_chunked",
    "gated_linear_attention_parallel",
    "gated_linear_attention_recurrent",
    "grouped_query_attention",
    "latent_attention_absorbed",
    "latent_attention_expanded",
    "linear_attention",
    "linear_attention_chunked",
    "linear_attention_parallel",
    "linear_attention_recurrent",
    "multi_head_attention",
    "multi_head_local_attention",
    "multi_query_attention",
    "qk_norm_attention",
    "retention",
    "retention_chunked",
    "retention_parallel",
    "retention_recurrent",
    "simple_gated_linear_attention",
    "simple_gated_linear_attention_chunked",
    "simple_gated_linear_attention_parallel",
    "simple_gated_linear_attention_recurrent",
    "softmax_off_by_one_attention",
    "streaming_attention",
]
