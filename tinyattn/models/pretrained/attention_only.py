"""The attention of one layer of a model, also of families whose feed-forward layers are not built."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.layers.gated_delta_net import GatedDeltaNet
from tinyattn.layers.mixed import same
from tinyattn.layers.norm import RMSNorm
from tinyattn.layers.trained_attention import TrainedAttention
from tinyattn.layers.trained_latent import TrainedLatent
from tinyattn.models.pretrained.build import FULL, Builder
from tinyattn.models.pretrained.families import ATTENTION_ONLY, FAMILIES
from tinyattn.models.pretrained.load import checked_dtype, read_json
from tinyattn.models.pretrained.parts import cut
from tinyattn.models.pretrained.scaling import frequencies_of, parameters_of
from tinyattn.ops.checks import whole
from tinyattn.ops.files.shards import read_folder
from tinyattn.ops.positions.frequencies import FrequenciesByLength, yarn_scale
from tinyattn.ops.types import Array

LINEAR = "linear_attention"
# The epsilon of the norms inside the projections of deepseek_v3; its config does not change it.
INNER_EPSILON = 1e-6

Attention = TrainedAttention | TrainedLatent | GatedDeltaNet


def load_attention(path: str | os.PathLike[str], layer: int, *, dtype: Any = np.float32) -> Attention:
    """Returns the attention of a layer of the model in a folder: it maps normalised x (..., length, width) to the same shape.

    Of gpt_oss (sinks), qwen3_next (gated delta rule, and attention with a gate) and deepseek_v3 (latent attention) nothing
    else is built, because their feed-forward layers are experts. Of a family that `load` knows it is the attention of the
    loaded model.

    Raises:
        TypeError, ValueError: a layer that the model does not have, a type of model or a scaling that is not known, tensors of the
            layer that are missing or have another shape. OSError: a file that cannot be read.

    >>> import json, tempfile
    >>> from tinyattn.ops.files import safetensors
    >>> folder, matrix = Path(tempfile.mkdtemp()), np.eye(4, dtype=np.float32)
    >>> sizes = {"hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 8}
    >>> written = (folder / "config.json").write_text(json.dumps({"model_type": "llama", **sizes}))
    >>> names = [f"model.layers.0.self_attn.{name}_proj.weight" for name in "qkvo"]
    >>> safetensors.save(folder / "model.safetensors", dict.fromkeys(names, matrix))
    >>> load_attention(folder, 0)(np.ones((1, 3, 4), np.float32), causal=True).shape
    (1, 3, 4)
    """
    kind, folder = checked_dtype(dtype), Path(path)
    config, tensors = read_json(folder / "config.json"), read_folder(folder)
    builder = Builder(config, tensors, kind, {**FAMILIES, **ATTENTION_ONLY})
    layer = whole("layer", layer, 0, builder.layers - 1)
    made = MAKERS.get(config["model_type"], Builder.attention)(builder, layer, f"{builder.names['layers']}.{layer}.")
    if builder.faults:
        raise ValueError("tensors do not fit the config: " + "; ".join(sorted(builder.faults)))
    return made


def with_sinks(builder: Builder, layer: int, prefix: str) -> TrainedAttention:
    """Returns the attention of gpt_oss, whose heads have sinks."""
    made = builder.attention(layer, prefix)
    return replace(made, options={**made.options, "sinks": builder.array(f"{prefix}self_attn.sinks", (builder.heads,))})


def gated(builder: Builder, layer: int, prefix: str) -> TrainedAttention | GatedDeltaNet:
    """Returns the attention of qwen3_next, a gated delta rule, or attention with a gate whose rows follow each head's queries."""
    kinds = builder.config.get("layer_types") or []
    if len(kinds) != builder.layers or not set(kinds) <= {LINEAR, FULL}:
        raise ValueError(f"config: layer_types: expected {builder.layers} of {LINEAR} and {FULL}, got {str(kinds)[:60]}")
    if kinds[layer] == LINEAR:
        return delta_net(builder, prefix)
    heads, dim = builder.heads, builder.head_dim
    rows = np.arange(2 * heads * dim).reshape(heads, 2, dim)
    both = builder.affine("q_gate", prefix, 2 * heads * dim, builder.width)
    k, v = (builder.affine(part, prefix, builder.kv_heads * dim, builder.width) for part in "kv")
    return TrainedAttention(cut(both, rows[:, 0].reshape(-1)), k, v, builder.affine("out", prefix, builder.width, heads * dim), heads,
                            builder.kv_heads, fastest.attention, builder.frequencies(FULL), False, builder.norm("q_norm", prefix, dim),
                            builder.norm("k_norm", prefix, dim), gate=cut(both, rows[:, 1].reshape(-1)))


def delta_net(builder: Builder, prefix: str) -> GatedDeltaNet:
    """Returns a gated delta rule; its projections are stored per key head: queries, keys, values, gates, then beta and decay."""
    def size(name: str) -> int:
        return whole(f"config: {name}", builder.config.get(f"linear_{name}"), 1)

    names = ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
    keys, values, key_dim, value_dim, taps = map(size, names)
    if values % keys:
        raise ValueError(f"config: linear_num_value_heads: expected a multiple of the {keys} key heads, got {values}")
    shared = values // keys
    parts = (key_dim, key_dim, shared * value_dim, shared * value_dim)
    qkvz, ba = (builder.affine(name, prefix, outputs, builder.width)
                for name, outputs in (("qkvz", keys * sum(parts)), ("ba", 2 * values)))
    rows = np.split(np.arange(keys * sum(parts)).reshape(keys, -1), np.cumsum(parts)[:-1], axis=1)
    small = np.arange(2 * values).reshape(keys, 2, shared)
    q, k, v, z = (cut(qkvz, part.reshape(-1)) for part in rows)
    name, channels = f"{prefix}linear_attn.", keys * 2 * key_dim + values * value_dim
    return GatedDeltaNet(q, k, v, z, cut(ba, small[:, 0].reshape(-1)), cut(ba, small[:, 1].reshape(-1)),
                         builder.affine("linear_out", prefix, builder.width, values * value_dim),
                         builder.array(f"{name}conv1d.weight", (channels, 1, taps))[:, 0], builder.array(f"{name}A_log", (values,)),
                         builder.array(f"{name}dt_bias", (values,)),
                         RMSNorm(builder.array(f"{name}norm.weight", (value_dim,)), builder.config["rms_norm_eps"]), keys, values)


def latent(builder: Builder, layer: int, prefix: str) -> TrainedLatent:
    """Returns the latent attention of deepseek_v3."""
    config = builder.config
    rank, rope, nope, value = (whole(f"config: {name}", config.get(name), 1) for name in
                               ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"))
    heads, inner = builder.heads, config.get("q_lora_rank")
    outputs = heads * (nope + rope)

    def norm(name: str, width: int) -> RMSNorm:
        return RMSNorm(builder.array(f"{prefix}self_attn.{name}.weight", (width,)), INNER_EPSILON)

    first, q_up = ("q", outputs), None
    q_norm: Callable[[Array], Array] = same
    if inner is not None:
        first, q_up, q_norm = ("q_down", inner), builder.affine("q_up", prefix, outputs, inner), norm("q_a_layernorm", inner)
    up = builder.array(f"{prefix}{builder.names['up']}.weight", (heads * (nope + value), rank))
    per_head = up.reshape(heads, nope + value, rank).swapaxes(1, 2)
    given = parameters_of(config, FULL)
    by = given.get("mscale_all_dim") if given["rope_type"] != "default" else None
    frequencies = frequencies_of(config, rope)
    if isinstance(frequencies, FrequenciesByLength):
        raise ValueError(f"config: the rotary scaling {given['rope_type']!r} is not built for models of type deepseek_v3")
    scale = (nope + rope) ** -0.5 * (yarn_scale(given["factor"], by) ** 2 if by else 1.0)
    return TrainedLatent(builder.affine(first[0], prefix, first[1], builder.width), q_up, q_norm,
                         builder.affine("down", prefix, rank + rope, builder.width), norm("kv_a_layernorm", rank),
                         per_head[..., :nope], per_head[..., nope:], builder.affine("out", prefix, builder.width, heads * value),
                         frequencies, bool(config.get("rope_interleave", True)), scale)


MAKERS: dict[str, Callable[[Builder, int, str], Attention]] = {"gpt_oss": with_sinks, "qwen3_next": gated, "deepseek_v3": latent}
