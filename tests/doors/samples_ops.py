"""How the functions of ops are called."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from door import Door

from tinyattn import ops
from tinyattn.ops import masks

# The numbers of ops, and who sees whom: ops.masks has names of its own.
PUBLIC = {name: getattr(package, name) for package in (ops, masks) for name in package.__all__ if not isinstance(getattr(package, name), int)}
MODULE = SimpleNamespace(__all__=list(PUBLIC), **PUBLIC)
RNG = np.random.default_rng
X = RNG(0).standard_normal((2, 4, 6))
LENGTHS = {"q_len": 3, "kv_len": 6}


def of(**arguments: Any) -> Callable[[], dict[str, Any]]:
    """Returns a function that gives these arguments, arrays copied."""
    return lambda: {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in arguments.items()}


def bias() -> ops.Bias:
    return ops.alibi(np.array([0.5, 0.25]))


def pattern() -> ops.Pattern:
    return masks.window(2, 1)


elementwise = {name: Door(of(x=X)) for name in ("elu_plus_one", "erf", "exact_gelu", "gelu", "relu", "relu_features", "relu_squared", "sigmoid", "silu", "softplus",
                                                "taylor_features", "merge_heads", "unit")}
seen = {"scores": X, "visible": X > -1.0}
DOORS = elementwise | {
    "ScoreRule": Door(of(function=lambda s, i, j: s - 0.1 * abs(i - j))),
    "Bias": Door(of(of=lambda distance: 0.1 * distance[None])),
    "Bias.dense": Door(of(**LENGTHS), make=bias),
    "Bias.tile": Door(of(q_positions=np.arange(3), kv_positions=np.arange(4)), make=bias),
    "Frequencies": Door(of(values=np.array([1.0, 0.1]), attention_factor=1.5)),
    "Pattern": Door(of(see=lambda i, j: i >= j, text="mine", weight=3)),
    "Pattern.blocks": Door(of(**LENGTHS, q_block=2, kv_block=2), make=pattern),
    "Pattern.dense": Door(of(**LENGTHS), make=pattern),
    "Pattern.visible": Door(of(q_positions=np.arange(3), kv_positions=np.arange(4)), make=pattern),
    "Pattern.within": Door(of(weight=1), make=pattern),
    "alibi": Door(of(slopes=np.array([0.5, 0.25]))),
    "alibi_slopes": Door(of(heads=4)),
    "cosformer_features": Door(of(x=X, positions=np.arange(4), max_length=9)),
    "cross_entropy": Door(of(logits=X, targets=np.zeros((2, 4), int)), below={"targets": 6}),
    "dynamic_ntk_frequencies": Door(of(dims=8, factor=2.0, original_length=16, length=32, base=100.0)),
    "fold_group": Door(of(x=X, kv_heads=1)),
    "layer_norm": Door(of(x=X, weight=np.ones(6), bias=np.zeros(6), epsilon=1e-5), optional=("weight", "bias")),
    "linear_frequencies": Door(of(dims=8, factor=2.0, base=100.0)),
    "llama3_frequencies": Door(of(dims=8, factor=2.0, original_length=16, low=1.0, high=4.0, base=100.0)),
    "log_softmax": Door(of(**seen), optional=("visible",)),
    "logsumexp": Door(of(**seen, sinks=np.zeros(2)), optional=("visible", "sinks")),
    "lsh_rotations": Door(lambda: {"rng": RNG(0), "hashes": 2, "head_dim": 4, "buckets": 4}),
    "merge": Door(lambda: {"a": (X.copy(), X[..., 0].copy()), "b": (X + 1.0, X[..., 1].copy())}),
    "ntk_frequencies": Door(of(dims=8, factor=2.0, base=100.0)),
    "performer_features": Door(of(x=X, projection=RNG(1).standard_normal((5, 6)))),
    "performer_projection": Door(lambda: {"rng": RNG(0), "features": 5, "head_dim": 4}, work=("features",)),
    "plain_frequencies": Door(of(dims=8, base=100.0)),
    "relative": Door(of(table=np.ones((3, 2)), buckets=lambda distance: np.clip(distance, -1, 1) + 1)),
    "rms_norm": Door(of(x=X, weight=np.ones(6), epsilon=1e-5), optional=("weight",)),
    "rotary": Door(of(x=X, positions=np.arange(4), base=100.0, interleaved=False, dims=4), optional=("dims",)),
    "causal_convolution": Door(of(x=X, weight=RNG(1).standard_normal((X.shape[-2], 3)), bias=RNG(2).standard_normal(X.shape[-2]),
                                  initial_state=RNG(3).standard_normal((*X.shape[:-1], 2)), return_state=True), optional=("bias", "initial_state")),
    "rotary_by": Door(of(x=X, cos=RNG(1).standard_normal((4, 2)), sin=RNG(2).standard_normal((4, 2)), interleaved=False)),
    "rotary_2d": Door(of(x=RNG(0).standard_normal((2, 6, 8)), grid=(2, 3), base=100.0, interleaved=False)),
    "sinusoidal": Door(of(positions=np.arange(4), width=6)),
    "softmax": Door(of(**seen, sinks=np.zeros(2)), optional=("visible", "sinks")),
    "split_group": Door(of(x=X, kv_heads=1)),
    "split_heads": Door(of(x=X, heads=2)),
    "t5_buckets": Door(of(distance=np.arange(-4, 4), buckets=8, max_distance=16, causal=True)),
    "unfold_group": Door(of(x=RNG(0).standard_normal((1, 8, 6)), heads=2), also=("kv_heads",)),
    "yarn_frequencies": Door(of(dims=8, factor=2.0, original_length=16, base=100.0, beta_fast=32.0, beta_slow=1.0, truncate=True, attention_factor=1.5), optional=("attention_factor",)),
    "longrope_frequencies": Door(of(dims=8, short=np.ones(4), long=np.full(4, 2.0), length=9, original_length=8, factor=2.0, base=100.0, attention_factor=1.5),
                                 optional=("attention_factor",)),
    "rotary_sections": Door(of(x=X, positions=np.stack([np.arange(4), np.arange(4)[::-1]]), sections=(1, 2), base=100.0, interleaved=False)),
    "xpos_queries": Door(of(q=X, positions=np.arange(4), base=100.0, scale_base=16.0, interleaved=False)),
    "xpos_keys": Door(of(k=X, positions=np.arange(4), base=100.0, scale_base=16.0, interleaved=False)),
    "kerple_log": Door(of(strength=np.array([0.5, 2.0]), slope=np.array([1.0, 0.25]))),
    "kerple_power": Door(of(strength=np.array([0.5, 2.0]), exponent=np.array([1.0, 0.25]))),
    "sandwich": Door(of(heads=2, width=8, base=100.0)),
    "fire_bias": Door(of(**LENGTHS, c=np.array(0.5), threshold=np.array(2.0), layers=[(np.ones((3, 1)), np.ones(3)), (np.ones((2, 3)), np.zeros(2))])),
    "block_local": Door(of(size=2)),
    "causal": Door(),
    "causal_top_left": Door(of(**LENGTHS)),
    "dilated": Door(of(width=3, rate=2)),
    "documents": Door(of(ids=np.array([0, 0, 0, 1, 1, 1]))),
    "documents_from_offsets": Door(of(offsets=np.array([0, 3, 6]), length=6)),
    "first": Door(of(n=2)),
    "fixed": Door(of(size=3, last=1)),
    "global_tokens": Door(of(indices=np.array([0, 2]))),
    "look_back": Door(of(size=2)),
    "padding": Door(of(lengths=np.array([3, 6]))),
    "parse": Door(of(text="causal & window(2, 0)")),
    "per_head": Door(lambda: {"patterns": [masks.causal(), masks.first(2)]}),
    "prefix": Door(of(n=2)),
    "random_blocks": Door(of(size=2, count=1, seed=3)),
    "sharded": Door(of(heads=2, size=2, local=1, stride=2), work=("heads",)),
    "shifted_blocks": Door(of(size=2, shift=1)),
    "sliding_window": Door(of(width=2)),
    "strided": Door(of(n=2)),
    "window": Door(of(left=2, right=1), optional=("left", "right")),
}
