"""Small named pieces of NumPy that definitions are written with."""

from tinyattn.ops.activation import gelu, relu, relu_squared, sigmoid, silu, softplus
from tinyattn.ops.bias import Bias, alibi, relative
from tinyattn.ops.draws import lsh_rotations, performer_projection
from tinyattn.ops.features import cosformer_features, elu_plus_one, performer_features, relu_features, taylor_features
from tinyattn.ops.heads import fold_group, merge_heads, split_group, split_heads, unfold_group
from tinyattn.ops.loss import cross_entropy
from tinyattn.ops.masks import Pattern
from tinyattn.ops.merge import merge
from tinyattn.ops.norm import layer_norm, rms_norm, unit
from tinyattn.ops.positions import (
    Frequencies,
    alibi_slopes,
    dynamic_ntk_frequencies,
    linear_frequencies,
    llama3_frequencies,
    ntk_frequencies,
    plain_frequencies,
    rotary,
    rotary_2d,
    sinusoidal,
    t5_buckets,
    yarn_frequencies,
)
from tinyattn.ops.softmax import log_softmax, logsumexp, softmax

__all__ = [
    "Bias",
    "Frequencies",
    "Pattern",
    "alibi",
    "alibi_slopes",
    "cosformer_features",
    "cross_entropy",
    "dynamic_ntk_frequencies",
    "elu_plus_one",
    "fold_group",
    "gelu",
    "layer_norm",
    "linear_frequencies",
    "llama3_frequencies",
    "log_softmax",
    "logsumexp",
    "lsh_rotations",
    "merge",
    "merge_heads",
    "ntk_frequencies",
    "performer_features",
    "performer_projection",
    "plain_frequencies",
    "relative",
    "relu",
    "relu_features",
    "relu_squared",
    "rms_norm",
    "rotary",
    "rotary_2d",
    "sigmoid",
    "silu",
    "sinusoidal",
    "softmax",
    "softplus",
    "split_group",
    "split_heads",
    "t5_buckets",
    "taylor_features",
    "unfold_group",
    "unit",
    "yarn_frequencies",
]
