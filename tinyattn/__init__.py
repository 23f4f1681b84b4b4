"""Every attention mechanism: a definition to read, a kernel to run, laws that tie the two.

The map of the folders, in reading order, which is the import order: a file imports only what stands above it. The first
lines of each folder's `__init__.py` are the map of its files.

    engine/                 1  how gradients happen
    ops/                    2  small named pieces of NumPy
    definitions/            3  what each mechanism is
    kernels/                4  the same functions, fast
    twice.py                4a what second derivatives walk
    in_numpy.py             4b exact attention in NumPy, faster
    fastest.py              4b the best form for a call
    parallel/               4c one sequence over many processes
    caches/                 5  what decoding remembers
    layers/                 6  with parameters
    models/                 7  small and whole
    laws/                   8  what must hold, as values
    catalog/                9  one row per mechanism
    testing/                10 how we know
    plot.py                 11 pictures, with matplotlib
    cli/                    12 the command line
    __main__.py             python -m tinyattn
"""

from importlib import import_module
from sys import modules

TYPE_CHECKING = False  # importing typing costs more than all of this file
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

# Written by tests/exports.py, as is __init__.pyi, in which type checkers and editors find the same names.
_NAMES = {
    "tinyattn.definitions": """
        attention_scores attention_weights causal_convolution_recurrent contextual_position_bias decomposed_position_bias
        delta_product_chunked delta_product_recurrent delta_rule_chunked delta_rule_recurrent gated_delta_rule_chunked
        gated_delta_rule_recurrent gated_linear_attention_chunked gated_linear_attention_parallel gated_linear_attention_recurrent
        generalized_delta_rule_chunked generalized_delta_rule_recurrent kimi_delta_attention_chunked kimi_delta_attention_recurrent
        lightning_attention_chunked lightning_attention_recurrent linear_attention_chunked linear_attention_parallel
        linear_attention_recurrent log_linear_attention_recurrent mesa_recurrent mlstm_chunked mlstm_recurrent retention_chunked
        retention_parallel retention_recurrent rwkv6_chunked rwkv6_recurrent rwkv7_chunked rwkv7_recurrent
        simple_gated_linear_attention_chunked simple_gated_linear_attention_parallel simple_gated_linear_attention_recurrent
        spatial_gate
    """,
    "tinyattn.engine": """
        Tensor grad no_grad primitive value_and_grad vjp
    """,
    "tinyattn.fastest": """
        attention attention_with_lse axial_attention based bigbird_attention block_mixture_attention block_sparse_attention
        causal_convolution contextual_position_attention cosformer cosine_attention deepseek_sparse_attention delta_product
        delta_rule differential_attention disentangled_attention dual_chunk_attention dual_chunk_attention_merged
        dynamic_contextual_attention entmax_attention forgetting_attention gated_attention gated_delta_rule gated_linear_attention
        gathered_attention generalized_delta_rule global_subsampled_attention grouped_query_attention kimi_delta_attention
        latent_attention_absorbed latent_attention_expanded lightning_attention lightning_indexer linear_attention
        linformer_attention locally_grouped_attention log_linear_attention longformer_attention lsh_attention mesa mlstm
        multi_head_attention multi_head_local_attention multi_query_attention native_sparse_attention neighborhood_attention
        nystrom_attention path_attention performer qk_norm_attention relative_position_attention retention rwkv6 rwkv7
        scalable_softmax_attention shifted_sparse_attention shifted_window_attention sigmoid_attention simple_gated_linear_attention
        softmax_off_by_one_attention sparsemax_attention stick_breaking_attention stick_breaking_attention_with_rest
        streaming_attention streaming_llm_attention talking_heads_attention tensor_product_attention top_k_attention
    """,
    "tinyattn.ops": """
        Bias Pattern ScoreRule alibi merge relative rotary
    """,
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
_PARTS = ("caches", "catalog", "definitions", "engine", "fastest", "laws", "layers", "models", "ops", "parallel", "plot", "testing")

# tinyattn.kernels is found by its name alone: without Numba it raises, and `import *` and `help` ask for all that stands here.
__all__ = ["__version__", *sorted(_HOMES), *_PARTS]


def __getattr__(name: str) -> "Any":
    # Names are found when they are asked for: importing all of it takes as long as importing NumPy.
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name == "kernels" or name in _PARTS:
        value = import_module(f"tinyattn.{name}")
    else:
        raise AttributeError(f"module 'tinyattn' has no attribute {name!r}", name=name, obj=modules[__name__])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
