"""What each mechanism is: one file of NumPy a mechanism, in the order of its formula.

A definition takes arrays and returns arrays. It also takes `tinyattn.Tensor`, which answers NumPy's own functions,
and then has gradients; it never knows the difference.
"""

from tinyattn.definitions.linear.linear import (
    linear_attention,
    linear_attention_chunked,
    linear_attention_parallel,
    linear_attention_recurrent,
)
from tinyattn.definitions.softmax.dot_product import attention, attention_weights, attention_with_lse
from tinyattn.definitions.softmax.grouped import (
    grouped_query_attention,
    multi_head_attention,
    multi_query_attention,
)
from tinyattn.definitions.softmax.streaming import streaming_attention

__all__ = [
    "attention",
    "attention_weights",
    "attention_with_lse",
    "grouped_query_attention",
    "linear_attention",
    "linear_attention_chunked",
    "linear_attention_parallel",
    "linear_attention_recurrent",
    "multi_head_attention",
    "multi_query_attention",
    "streaming_attention",
]
