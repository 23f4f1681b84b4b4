"""Small named pieces of NumPy, from which the definitions are written.

Its files, in reading order:

    types.py                the name of an array in annotations
    storage.py              widening float16 and bfloat16, narrowing results
    checks.py               checks of numbers, texts and arrays
    signature.py            @shapes: the axes of a mechanism, declared and checked
    named.py                @named: missing and unknown arguments, refused by name
    heads.py                splitting, merging and grouping heads
    softmax.py              softmax, log-softmax, log-sum-exp
    merge.py                merging two partial results of attention
    entmax.py               entmax and sparsemax
    largest.py              selecting the largest numbers of a row
    norm.py                 RMS norm, layer norm, unit length
    erf.py                  the error function
    activation.py           sigmoid, SiLU, GELU, softplus, ReLU
    convolution.py          each channel mixed with the tokens just before
    loss.py                 cross-entropy
    factors.py              sums of outer products, given as pairs of factors
    masks/                  patterns: which query sees which key
    windows.py              windows of a grid
    positions/              rotary and other positions
    quantize.py             quantisation to 8 or 4 bits
    draws.py                random matrices that mechanisms take as arguments
    bias.py                 biases that are a function of the distance
    distance_bias.py        biases of published models: KERPLE, Sandwich, FIRE
    options.py              the options of softmax attention, checked
    score_rule.py           functions of scores and positions
    landmarks.py            means of segments, a pseudo-inverse
    neighbours.py           the cells around a cell of a grid
    tiles.py                visibility of one block of keys
    scores.py               scores from queries and keys
    features.py             feature maps of linear attention
    gates.py                the gates of recurrences, checked
    arguments.py            the arguments that only one mechanism has, checked
    relation_arguments.py   scales and mixtures of heads, tables of distances, checked
    donated.py              a state whose memory may be written over
    linear_options.py       the options of the linear family, checked
    levels.py               the levels of log-linear attention
    exponential_gates.py    logs of exponential gates, taken relative to a running maximum
    files/                  safetensors and GGUF files
"""

from tinyattn.ops.activation import exact_gelu, gelu, relu, relu_squared, sigmoid, silu, softplus
from tinyattn.ops.bias import Bias, alibi, relative
from tinyattn.ops.convolution import causal_convolution
from tinyattn.ops.distance_bias import fire_bias, kerple_log, kerple_power, sandwich
from tinyattn.ops.draws import lsh_rotations, performer_projection
from tinyattn.ops.erf import erf
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
    longrope_frequencies,
    ntk_frequencies,
    plain_frequencies,
    rotary,
    rotary_2d,
    rotary_by,
    rotary_sections,
    sinusoidal,
    t5_buckets,
    xpos_keys,
    xpos_queries,
    yarn_frequencies,
)
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.softmax import log_softmax, logsumexp, softmax

__all__ = [
    "Bias",
    "Frequencies",
    "Pattern",
    "ScoreRule",
    "alibi",
    "alibi_slopes",
    "causal_convolution",
    "cosformer_features",
    "cross_entropy",
    "dynamic_ntk_frequencies",
    "elu_plus_one",
    "erf",
    "exact_gelu",
    "fire_bias",
    "fold_group",
    "gelu",
    "kerple_log",
    "kerple_power",
    "layer_norm",
    "linear_frequencies",
    "llama3_frequencies",
    "log_softmax",
    "logsumexp",
    "longrope_frequencies",
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
    "rotary_by",
    "rotary_sections",
    "sandwich",
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
    "xpos_keys",
    "xpos_queries",
    "yarn_frequencies",
]
