"""What each family of models is made of, as data: adding a family is one row, and one fixture of its tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Config = Mapping[str, Any]
# The names of tensors, without ".weight" and ".bias", in files of most families. Those after `head` stand in each layer.
LLAMA = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head", "layers": "model.layers",
         "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "out": "self_attn.o_proj",
         "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
         "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
QK_NORMS = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
NONE: frozenset[str] = frozenset()
QKV = frozenset("qkv")
ALL = frozenset({"q", "k", "v", "out", "gate", "up", "down", "head"})


def from_keys(config: Config) -> frozenset[str]:
    """Returns the parts with a bias, according to the keys attention_bias and mlp_bias of a config.

    >>> sorted(from_keys({"attention_bias": True, "mlp_bias": False}))
    ['k', 'out', 'q', 'v']
    """
    attention = {"q", "k", "v", "out"} if config.get("attention_bias") else set()
    return frozenset(attention | ({"gate", "up", "down"} if config.get("mlp_bias") else set()))


@dataclass(frozen=True)
class Family:
    """What the models of a family have. `names` are those of the tensors; a part without a name is one that the models lack.

    `norm` is rms, rms + 1 (the file holds the weight minus 1), layer (with a bias), layer without a bias, or none (a layer norm
    without a weight). `biases` gives the parts that have a bias, `order` the order of the residuals. `fused` says how one
    matrix holds queries, keys and values: stacked, or by head. `transposed` matrices are stored as (inputs, outputs).
    `refused` are keys of the config that must be absent or have the value given here, because no other value is built.
    `prefix` is the start of the names of all tensors, which some files leave out. `unread` are endings of names of tensors
    that are not needed: masks, angles, and heads of other tasks.
    """

    names: Mapping[str, str] = field(default_factory=lambda: LLAMA)
    norm: str = "rms"
    epsilon: str | float = "rms_norm_eps"
    biases: Callable[[Config], frozenset[str]] = lambda config: NONE
    order: Callable[[Config], str] = lambda config: "serial"
    activation: str | None = None
    tied: bool = False
    norms_whole: bool = False
    interleaved: bool = False
    fused: str | None = None
    transposed: bool = False
    embedding_scale: Callable[[Config], float] = lambda config: 1.0
    logit_scale: Callable[[Config], float] = lambda config: 1.0
    residual: Callable[[Config], float] = lambda config: 1.0
    scale: Callable[[Config], float | None] = lambda config: None
    refused: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    unread: tuple[str, ...] = ("rotary_emb.inv_freq",)
    causal: bool = True


def named(*without: str, **changed: str) -> dict[str, str]:
    """Returns the names of most families with some of them changed and some left out.

    >>> named("gate", up="mlp.fc1")["up"], "gate" in named("gate")
    ('mlp.fc1', False)
    """
    return {part: name for part, name in {**LLAMA, **changed}.items() if part not in without}


LLAMA_ROW = Family(biases=from_keys)
GEMMA = Family(norm="rms + 1", activation="gelu_pytorch_tanh", tied=True, biases=from_keys,
               embedding_scale=lambda config: config["hidden_size"] ** 0.5)
GEMMA_2 = replace(GEMMA, names=named(attention_out_norm="post_attention_layernorm", feed_forward_norm="pre_feedforward_layernorm",
                                     feed_forward_out_norm="post_feedforward_layernorm"),
                  scale=lambda config: config["query_pre_attn_scalar"] ** -0.5)
FAMILIES: dict[str, Family] = {
    "llama": LLAMA_ROW,
    "mistral": LLAMA_ROW,
    "qwen2": replace(LLAMA_ROW, biases=lambda config: QKV),
    "qwen3": replace(LLAMA_ROW, names={**LLAMA, **QK_NORMS}),
    "smollm3": replace(LLAMA_ROW, tied=True),
    "granite": replace(LLAMA_ROW, embedding_scale=lambda config: config["embedding_multiplier"],
                       logit_scale=lambda config: 1.0 / config["logits_scaling"],
                       residual=lambda config: config["residual_multiplier"], scale=lambda config: config["attention_multiplier"]),
    "gemma": GEMMA,
    "gemma2": GEMMA_2,
    "gemma3_text": replace(GEMMA_2, names={**GEMMA_2.names, **QK_NORMS}),
    "olmo": replace(LLAMA_ROW, norm="none", epsilon=1e-5),
    "olmo2": replace(LLAMA_ROW, norms_whole=True,
                     names={**named("attention_norm", "feed_forward_norm", attention_out_norm="post_attention_layernorm",
                                    feed_forward_out_norm="post_feedforward_layernorm"), **QK_NORMS}),
    "phi": Family(named("gate", out="self_attn.dense", up="mlp.fc1", down="mlp.fc2", norm="model.final_layernorm",
                        feed_forward_norm="input_layernorm"), "layer", "layer_norm_eps", lambda config: ALL,
                  lambda config: "parallel", refused={"qk_layernorm": False}),
    "phi3": Family(named("q", "k", "v", "gate", "up", qkv="self_attn.qkv_proj", gate_up="mlp.gate_up_proj"), fused="stacked"),
    "gpt2": Family({"embedding": "transformer.wte", "positions": "transformer.wpe", "norm": "transformer.ln_f", "head": "lm_head",
                    "layers": "transformer.h", "qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj",
                    "attention_norm": "ln_1", "feed_forward_norm": "ln_2"},
                   "layer", "layer_norm_epsilon", lambda config: ALL - {"head"}, tied=True, fused="stacked", transposed=True,
                   refused={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
                   prefix="transformer.", unread=(".attn.bias", ".attn.masked_bias")),
    "gpt_neox": Family({"embedding": "gpt_neox.embed_in", "norm": "gpt_neox.final_layer_norm", "head": "embed_out",
                        "layers": "gpt_neox.layers", "qkv": "attention.query_key_value", "out": "attention.dense",
                        "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h", "attention_norm": "input_layernorm",
                        "feed_forward_norm": "post_attention_layernorm"},
                       "layer", "layer_norm_eps",
                       lambda config: ALL - {"head"} if config.get("attention_bias", True) else frozenset({"up", "down"}),
                       lambda config: "parallel" if config.get("use_parallel_residual", True) else "serial", fused="by head",
                       unread=("rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")),
    "cohere": Family(named(feed_forward_norm="input_layernorm"), "layer without a bias", "layer_norm_eps", from_keys,
                     lambda config: "parallel", tied=True, interleaved=True,
                     logit_scale=lambda config: config["logit_scale"], refused={"use_qk_norm": False}),
    "starcoder2": Family(named("gate", up="mlp.c_fc", down="mlp.c_proj"), "layer", "norm_epsilon",
                         lambda config: ALL - {"head"} if config.get("use_bias", True) else NONE, tied=True),
    "stablelm": Family(norm="layer", epsilon="layer_norm_eps", biases=lambda config: QKV if config.get("use_qkv_bias") else NONE,
                       refused={"qk_layernorm": False, "use_parallel_residual": False}),
    "bert": Family({"embedding": "bert.embeddings.word_embeddings", "positions": "bert.embeddings.position_embeddings",
                    "token_types": "bert.embeddings.token_type_embeddings", "embedding_norm": "bert.embeddings.LayerNorm",
                    "layers": "bert.encoder.layer", "q": "attention.self.query", "k": "attention.self.key",
                    "v": "attention.self.value", "out": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense",
                    "attention_norm": "attention.output.LayerNorm", "feed_forward_norm": "output.LayerNorm"},
                   "layer", "layer_norm_eps", lambda config: ALL, lambda config: "after", causal=False, prefix="bert.",
                   refused={"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False},
                   unread=("position_ids", ".pooler.dense.weight", ".pooler.dense.bias")),
}
# The types of models whose attention alone is built, by `load_attention`: their feed-forward layers are experts.
ATTENTION_ONLY: dict[str, Family] = {
    "gpt_oss": LLAMA_ROW,
    "qwen3_next": replace(LLAMA_ROW, norm="rms + 1", names={
        **LLAMA, **QK_NORMS, "q_gate": "self_attn.q_proj", "qkvz": "linear_attn.in_proj_qkvz", "ba": "linear_attn.in_proj_ba",
        "linear_out": "linear_attn.out_proj"}),
    "deepseek_v3": replace(LLAMA_ROW, names={**named("k", "v"), "q_down": "self_attn.q_a_proj", "q_up": "self_attn.q_b_proj",
                                             "down": "self_attn.kv_a_proj_with_mqa", "up": "self_attn.kv_b_proj"}),
}
