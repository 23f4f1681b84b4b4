"""Small named pieces of NumPy that definitions are written with.

Its files, in reading order:

    types.py                what annotations call an array
    storage.py              float16 and bfloat16 widened, results narrowed
    checks.py               numbers and index arrays, checked
    signature.py            @shapes: a mechanism's axes, declared and checked
    heads.py                heads cut, joined, grouped
    softmax.py              softmax, logsumexp, and what is before the division
    merge.py                two partial attentions become one
    largest.py              the largest numbers of a row
    norm.py                 RMS, layer, unit length
    activation.py           sigmoid, SiLU, GELU, softplus
    loss.py                 cross-entropy
    masks/                  who may see whom
    windows.py              cells of a grid
    positions/              where a token stands
    quantize.py             numbers in 8 or 4 bits
    draws.py                what is drawn at random beside a mechanism
    bias.py                 biases that are a rule on positions
    options.py              the options of softmax attention, checked
    landmarks.py            means of segments, a pseudo-inverse
    neighbours.py           the cells around a cell of a grid
    tiles.py                which queries see which keys of one block
    scores.py               from queries and keys to scores
    features.py             feature maps of linear attention
    gates.py                the gates of recurrences, checked
    arguments.py            what one mechanism has beyond them, checked
    linear_options.py       the options of the linear family, checked
    files/                  written whole or not at all
"""

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
