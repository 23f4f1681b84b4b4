"""Every public helper with each argument damaged in turn: an error that names the argument, or the right value."""

import inspect

import numpy as np
import pytest

from tinyattn import definitions, layers, ops
from tinyattn.models import sampling
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.ops import masks
from tinyattn.ops.largest import largest
from tinyattn.ops.quantize import dequantize, quantize

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((2, 4, 6, 8)), np.ones(8)
PAIR = (X, X[..., 0])
FLOATS = ["text", [1.0], 3.0, X.astype(int), X.astype(complex), X.astype(object), X.astype(np.longdouble), np.ma.masked_array(X), X > 0]
INTS = ["text", None, 1.5, np.ones(6), np.ones(6, bool), np.array(["a"]), np.ma.masked_array(np.arange(6))]
COUNTS = ["1", None, 1.5, True, np.ones(2), np.nan, [1]]
NUMBERS = ["1", None, True, np.ones(2), 1j, [1.0]]
# What each kind of argument refuses with a TypeError, then with a ValueError.
KINDS = {
    "floats": ([*FLOATS, None], []), "floats?": (FLOATS, []), "floats 1": ([*FLOATS, None], [np.zeros(())]),
    "floats 2": ([*FLOATS, None], [np.zeros(()), W]), "floats 3": ([*FLOATS, None], [np.zeros(()), W, X[0, 0]]),
    "moved 2": (["text", [[1.0]], 3.0, None], [np.zeros(()), W]), "moved 3": (["text", [[1.0]], 3.0, None], [np.zeros(()), W, X[0, 0]]),
    "weight?": (FLOATS, [np.ones(7), np.ones((1, 8)), np.zeros(())]), "ints": (INTS, []),
    "mask?": (["text", [True], 1, np.ones((6, 8)), np.ones((6, 8), int)], [np.ones((6, 7), bool), np.ones((9, 2, 4, 6, 8), bool)]),
    "count": (COUNTS, [-1, 0, np.int64(-1), 1 << 63]), "count 0": (COUNTS, [-1, 1 << 63]), "seed": (COUNTS, [-1]),
    "number 1": (NUMBERS, [0.5, 0, -1.0, np.nan, np.inf]), "above 1": (NUMBERS, [1.0, 0, -3, np.nan, np.inf]),
    "number 0": (NUMBERS, [-1.0, np.nan, np.inf, -np.inf]), "above 0": (NUMBERS, [0.0, -1.0, np.nan, np.inf]),
    "flag": ([1, "yes", None, 0.0, np.ones(1, bool)], []), "function": ([None, 3, "relu"], []), "pair": ([None, 3, X, (X,)], []),
    "rng": ([None, 3, np.random, np.random.RandomState(0)], []),
    "grid": ([None, 6, [2, 3], "23", (2.0, 3), (True, 6)], [(0, 6), (2, 4), (-2, -3)]),
    "patterns": ([None, masks.causal(), "causal", [None], [3]], [[]]),
    "temperature": (NUMBERS, [-1.0, np.nan, np.inf]), "top_k?": (COUNTS[:1] + COUNTS[2:], [0, -1]),
    "top_p?": (NUMBERS[:1] + NUMBERS[2:], [0.0, 1.5, np.nan]), "config": ([None, 3, {"width": 8}], []),
    "number any": (NUMBERS, [np.nan, np.inf]), "count 0?": (COUNTS[:1] + COUNTS[2:], [-2, 1 << 63]), "axis": (COUNTS, [0, 1, -3]),
    "cells": ([None, 6, [2, 3], "23", (2.0, 3), (True, 6)], [(0, 6), (-2, -3)]), "window": (["2", None, 1.5, True], [0, -1, 3]),
    "divisors": (FLOATS, [np.ones(2), np.ones((3, 1)), np.zeros(3), -np.ones(4), np.full(4, np.nan), np.full(4, np.inf)]),
    "sections": ([3, "11", None, [1.0, 2]], [(1,), (3, 2), (-1, 2), ()]),
    "layers": ([None, [], [np.ones((2, 1))], [(np.ones((2, 1)),)], [([[1.0]], np.ones(1))]],
               [[(np.ones((2, 2)), np.ones(2))], [(np.ones((2, 1)), np.ones(3))], [(np.ones((2, 1)), np.ones(2)), (np.ones((2, 3)), np.ones(2))]]),
    "positive": (["1", None, True, 1j, [1.0]], [0.0, -1.0, np.nan, np.inf, np.ones(2)]), "number 0?": (NUMBERS[:1] + NUMBERS[2:], [-1.0, np.nan, np.inf]),
    "above 0?": (NUMBERS[:1] + NUMBERS[2:], [0.0, -1.0, np.nan, np.inf]),
    "base?": (NUMBERS[:1] + NUMBERS[2:], [1.0, 0, -3, np.nan, np.inf]),
}
ACTIVATIONS = ("sigmoid", "silu", "gelu", "exact_gelu", "erf", "softplus", "relu", "relu_squared", "elu_plus_one", "relu_features")
TABLE = {
    **{name: (getattr(ops, name), {"x": X}, {"x": "floats"}) for name in ACTIVATIONS},
    "taylor_features": (ops.taylor_features, {"x": X}, {"x": "floats 1"}),
    "cosformer_features": (ops.cosformer_features, {"x": X, "positions": np.arange(6), "max_length": 9},
                           {"x": "floats 2", "positions": "ints", "max_length": "count"}),
    "performer_features": (ops.performer_features, {"x": X, "projection": np.ones((5, 8))}, {"x": "floats 1", "projection": "floats"}),
    "performer_projection": (ops.performer_projection, {"rng": RNG, "features": 3, "head_dim": 2}, {"rng": "rng", "features": "count", "head_dim": "count"}),
    "lsh_rotations": (ops.lsh_rotations, {"rng": RNG, "hashes": 2, "head_dim": 4, "buckets": 6},
                      {"rng": "rng", "hashes": "count", "head_dim": "count", "buckets": "count"}),
    "rms_norm": (ops.rms_norm, {"x": X, "weight": W, "epsilon": 0.0}, {"x": "floats 1", "weight": "weight?", "epsilon": "number 0"}),
    "layer_norm": (ops.layer_norm, {"x": X, "weight": W, "bias": W, "epsilon": 0.0},
                   {"x": "floats 1", "weight": "weight?", "bias": "weight?", "epsilon": "number 0"}),
    "unit": (ops.unit, {"x": X}, {"x": "floats 1"}),
    "softmax": (ops.softmax, {"scores": X, "visible": X[0, 0] > 0, "sinks": np.ones(4)}, {"scores": "floats 1", "visible": "mask?", "sinks": "weight?"}),
    "logsumexp": (ops.logsumexp, {"scores": X, "visible": X[0, 0] > 0, "sinks": np.ones(4)},
                  {"scores": "floats 1", "visible": "mask?", "sinks": "weight?"}),
    "log_softmax": (ops.log_softmax, {"scores": X, "visible": X[0, 0] > 0}, {"scores": "floats 1", "visible": "mask?"}),
    "merge": (ops.merge, {"a": PAIR, "b": PAIR}, {"a": "pair", "b": "pair"}),
    "split_heads": (ops.split_heads, {"x": X, "heads": 4}, {"x": "moved 2", "heads": "count"}),
    "merge_heads": (ops.merge_heads, {"x": X}, {"x": "moved 3"}),
    "fold_group": (ops.fold_group, {"x": X, "kv_heads": 2}, {"x": "moved 3", "kv_heads": "count"}),
    "unfold_group": (ops.unfold_group, {"x": X, "heads": 12}, {"x": "moved 3", "heads": "count"}),
    "split_group": (ops.split_group, {"x": X, "kv_heads": 2}, {"x": "moved 3", "kv_heads": "count"}),
    "Bias": (ops.Bias, {"of": abs}, {"of": "function"}),
    "alibi": (ops.alibi, {"slopes": np.ones(2)}, {"slopes": "floats"}),
    "relative": (lambda table, buckets: ops.relative(table, buckets).dense(2, 2), {"table": np.ones((2, 3)), "buckets": lambda d: (d < 0).astype(int)},
                 {"table": "floats", "buckets": "function"}),
    "ScoreRule": (lambda score: ops.ScoreRule(score), {"score": lambda s, i, j: s}, {"score": "function"}),
    "Frequencies": (ops.Frequencies, {"values": np.ones(3), "attention_factor": 1.0}, {"values": "floats", "attention_factor": "number any"}),
    "Pattern": (ops.Pattern, {"see": lambda i, j: i == j}, {"see": "function"}),
    "alibi_slopes": (ops.alibi_slopes, {"heads": 3}, {"heads": "count"}),
    "sinusoidal": (ops.sinusoidal, {"positions": np.arange(3), "width": 4}, {"positions": "ints", "width": "count 0"}),
    "t5_buckets": (ops.t5_buckets, {"distance": np.arange(6), "buckets": 32, "max_distance": 128, "causal": True},
                   {"distance": "ints", "buckets": "count", "max_distance": "count", "causal": "flag"}),
    "rotary": (ops.rotary, {"x": X, "positions": np.arange(6), "base": 10000.0, "interleaved": False, "dims": 4, "frequencies": np.ones(2)},
               {"x": "floats 1", "positions": "ints", "base": "above 1", "interleaved": "flag", "dims": "count 0?", "frequencies": "floats?"}),
    "causal_convolution": (ops.causal_convolution, {"x": X, "weight": np.ones((6, 3)), "bias": np.ones(6), "initial_state": np.ones((2, 4, 6, 2)), "return_state": False},
                           {"x": "floats 2", "weight": "floats 1", "bias": "floats?", "initial_state": "floats?", "return_state": "flag"}),
    "rotary_by": (ops.rotary_by, {"x": X, "cos": np.ones((6, 4)), "sin": np.ones((6, 4)), "interleaved": False},
                  {"x": "floats 2", "cos": "floats 1", "sin": "floats 1", "interleaved": "flag"}),
    "rotary_2d": (ops.rotary_2d, {"x": X, "grid": (2, 3), "base": 100.0, "interleaved": False},
                  {"x": "floats 2", "grid": "grid", "base": "above 1", "interleaved": "flag"}),
    "plain_frequencies": (ops.plain_frequencies, {"dims": 8, "base": 100.0}, {"dims": "count 0", "base": "above 1"}),
    "linear_frequencies": (ops.linear_frequencies, {"dims": 8, "factor": 2.0, "base": 100.0}, {"dims": "count 0", "factor": "number 1", "base": "above 1"}),
    "ntk_frequencies": (ops.ntk_frequencies, {"dims": 8, "factor": 2.0, "base": 100.0}, {"dims": "count", "factor": "number 1", "base": "above 1"}),
    "dynamic_ntk_frequencies": (ops.dynamic_ntk_frequencies, {"dims": 8, "factor": 2.0, "original_length": 8, "length": 9, "base": 100.0},
                                {"dims": "count", "factor": "number 1", "original_length": "count", "length": "count", "base": "above 1"}),
    "yarn_frequencies": (ops.yarn_frequencies, {"dims": 8, "factor": 2.0, "original_length": 8, "base": 100.0, "beta_fast": 32.0, "beta_slow": 1.0,
                                                "truncate": True, "attention_factor": None, "mscale": 1.0, "mscale_all_dim": 0.5},
                         {"dims": "count 0", "factor": "number 1", "original_length": "count", "base": "above 1", "beta_fast": "above 0",
                          "beta_slow": "above 0", "truncate": "flag", "attention_factor": "above 0?", "mscale": "number 0?", "mscale_all_dim": "number 0?"}),
    "longrope_frequencies": (ops.longrope_frequencies, {"dims": 8, "short": np.ones(4), "long": np.ones(4), "length": 9, "original_length": 8, "factor": 2.0,
                                                        "base": 100.0, "attention_factor": 1.5},
                             {"dims": "count 0", "short": "divisors", "long": "divisors", "length": "count", "original_length": "count", "factor": "number 1",
                              "base": "above 1", "attention_factor": "above 0?"}),
    "rotary_sections": (ops.rotary_sections, {"x": X, "positions": np.zeros((2, 6), int), "sections": (1, 2), "base": 10000.0, "interleaved": False,
                                              "frequencies": np.ones(3)},
                        {"x": "floats 2", "positions": "ints", "sections": "sections", "base": "above 1", "interleaved": "flag", "frequencies": "floats?"}),
    **{name: (made, {name[5]: X, "positions": np.arange(6), "base": 100.0, "scale_base": 512.0, "interleaved": False},
              {name[5]: "floats 2", "positions": "ints", "base": "above 1", "scale_base": "above 0", "interleaved": "flag"})
       for name, made in (("xpos_queries", ops.xpos_queries), ("xpos_keys", ops.xpos_keys))},
    "kerple_log": (ops.kerple_log, {"strength": np.ones(3), "slope": np.ones(3)}, {"strength": "divisors", "slope": "divisors"}),
    "kerple_power": (ops.kerple_power, {"strength": np.ones(3), "exponent": np.ones(3)}, {"strength": "divisors", "exponent": "divisors"}),
    "sandwich": (ops.sandwich, {"heads": 3, "width": 4, "base": 100.0}, {"heads": "count", "width": "count", "base": "above 1"}),
    "fire_bias": (ops.fire_bias, {"q_len": 2, "kv_len": 3, "c": 1.0, "threshold": 1.0, "layers": [(np.ones((2, 1)), np.ones(2))]},
                  {"q_len": "count 0", "kv_len": "count 0", "c": "positive", "threshold": "positive", "layers": "layers"}),
    "llama3_frequencies": (ops.llama3_frequencies, {"dims": 8, "factor": 2.0, "original_length": 8, "low": 1.0, "high": 4.0, "base": 100.0},
                           {"dims": "count 0", "factor": "number 1", "original_length": "count", "low": "above 0", "high": "above 0", "base": "above 1"}),
}
OTHERS = {
    "largest": (largest, {"numbers": X, "count": 2}, {"numbers": "floats 1", "count": "count 0"}),
    "quantize": (quantize, {"x": X, "bits": 8, "group": 2, "axis": -1},
                 {"x": "floats 2", "bits": "count", "group": "count", "axis": "axis"}),
    "dequantize": (dequantize, {"packed": quantize(X, bits=8, group=2, axis=-1)}, {"packed": "pair"}),
    "padding": (masks.padding, {"lengths": np.arange(2)}, {"lengths": "ints"}),
    "documents": (masks.documents, {"ids": np.arange(2)}, {"ids": "ints"}),
    "documents_from_offsets": (masks.documents_from_offsets, {"offsets": np.array([0, 2]), "length": 2}, {"offsets": "ints", "length": "count 0"}),
    "causal_top_left": (masks.causal_top_left, {"q_len": 2, "kv_len": 3}, {"q_len": "count 0", "kv_len": "count 0"}),
    "window": (masks.window, {"left": 1, "right": 1}, {"left": "count 0?", "right": "count 0?"}),
    "sliding_window": (masks.sliding_window, {"width": 2}, {"width": "count"}),
    "first": (masks.first, {"n": 2}, {"n": "count 0"}), "prefix": (masks.prefix, {"n": 2}, {"n": "count 0"}),
    "strided": (masks.strided, {"n": 2}, {"n": "count"}), "dilated": (masks.dilated, {"width": 2, "rate": 2}, {"width": "count", "rate": "count"}),
    "block_local": (masks.block_local, {"size": 2}, {"size": "count"}), "look_back": (masks.look_back, {"size": 2}, {"size": "count"}),
    "fixed": (masks.fixed, {"size": 2, "last": 1}, {"size": "count", "last": "count"}),
    "shifted_blocks": (masks.shifted_blocks, {"size": 2, "shift": 1}, {"size": "count", "shift": "count 0"}),
    "sharded": (masks.sharded, {"heads": 2, "size": 2, "local": 1, "stride": 2}, dict.fromkeys(("heads", "size", "local", "stride"), "count")),
    "global_tokens": (masks.global_tokens, {"indices": [0, 2]}, {"indices": "ints"}),
    "random_blocks": (masks.random_blocks, {"size": 2, "count": 1, "seed": 0}, {"size": "count", "count": "count 0", "seed": "seed"}),
    "per_head": (masks.per_head, {"patterns": [masks.causal()]}, {"patterns": "patterns"}),
    "Pattern.dense": (masks.causal().dense, {"q_len": 2, "kv_len": 3}, {"q_len": "count 0", "kv_len": "count 0"}),
    "Pattern.blocks": (masks.causal().blocks, {"q_len": 2, "kv_len": 3, "q_block": 2, "kv_block": 2},
                       {"q_len": "count 0", "kv_len": "count 0", "q_block": "count", "kv_block": "count"}),
    "Bias.dense": (ops.alibi(np.ones(1)).dense, {"q_len": 2, "kv_len": 3}, {"q_len": "count 0", "kv_len": "count 0"}),
    "sample": (sampling.sample, {"logits": X, "rng": RNG, "temperature": 1.0, "top_k": 2, "top_p": 0.5},
               {"logits": "floats 1", "rng": "rng", "temperature": "temperature", "top_k": "top_k?", "top_p": "top_p?"}),
    "project": (layers.project, {"x": X, "weight": np.ones((8, 3))}, {"x": "floats 1", "weight": "floats"}),
    "SelfAttention.create": (layers.SelfAttention.create, {"rng": RNG, "width": 8, "heads": 4, "kv_heads": 2, "mechanism": definitions.attention, "base": 9.0,
                                                           "deviation": 0.1},
                             {"rng": "rng", "width": "count", "heads": "count", "kv_heads": "count", "mechanism": "function", "base": "base?",
                              "deviation": "number 0"}),
    "CrossAttention.create": (layers.CrossAttention.create, {"rng": RNG, "width": 8, "heads": 4, "kv_heads": 2, "mechanism": definitions.attention},
                              {"rng": "rng", "width": "count", "heads": "count", "kv_heads": "count", "mechanism": "function"}),
    "LatentAttention.create": (layers.LatentAttention.create, {"rng": RNG, "width": 16, "heads": 4, "kv_heads": 2},
                               {"rng": "rng", "width": "count", "heads": "count", "kv_heads": "count"}),
    "SwiGLU.create": (layers.SwiGLU.create, {"rng": RNG, "width": 8, "hidden": 4}, {"rng": "rng", "width": "count", "hidden": "count"}),
    "RMSNorm.create": (layers.RMSNorm.create, {"width": 8}, {"width": "count"}),
    "PatchEmbedding.create": (layers.PatchEmbedding.create, {"rng": RNG, "grid": (2, 3), "patch": 2, "width": 8},
                              {"rng": "rng", "grid": "cells", "patch": "count", "width": "count"}),
    "SpatialGate.create": (layers.SpatialGate.create, {"rng": RNG, "grid": (2, 3), "size": 3}, {"rng": "rng", "grid": "cells", "size": "count"}),
    "SwinBlock.create": (layers.SwinBlock.create, {"rng": RNG, "width": 8, "heads": 2, "hidden": 4, "grid": (2, 4), "window": 2},
                         {"rng": "rng", "width": "count", "heads": "count", "hidden": "count", "grid": "cells", "window": "window"}),
    "Decoder.create": (Decoder.create, {"config": DecoderConfig(width=8, layers=1, heads=2, kv_heads=1, hidden=8), "rng": RNG, "mechanism": definitions.attention},
                       {"config": "config", "rng": "rng", "mechanism": "function"}),
}
ALL = TABLE | OTHERS
CASES = [(name, argument, value, error) for name, (_, _, kinds) in ALL.items() for argument, kind in kinds.items()
         for error, values in zip((TypeError, ValueError), KINDS[kind], strict=True) for value in values]


def test_every_public_helper_has_its_row_with_all_of_its_arguments():
    assert set(TABLE) == set(ops.__all__) - {"cross_entropy"}  # whose cases stand beside its other tests
    for name, (function, given, kinds) in ALL.items():
        assert set(kinds) == set(given), name
        known = set(inspect.signature(function).parameters) - {"corners", "text", "weight"} if name == "Pattern" else set(inspect.signature(function).parameters)
        assert set(given) <= known, name
        assert name in OTHERS or set(given) == known, name


@pytest.mark.parametrize("name", ALL)
def test_the_whole_call_is_taken(name):
    function, given, _ = ALL[name]
    function(**given)


@pytest.mark.parametrize(("name", "argument", "value", "error"), CASES)
def test_a_damaged_argument_is_named(name, argument, value, error):
    function, given, _ = ALL[name]
    with pytest.raises(error) as refusal:
        function(**{**given, argument: value})
    assert argument in str(refusal.value).split(":")[0], refusal.value
