"""The config and the tensors in a GGUF file, under the names that they have in a folder of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyattn.models.pretrained.config_values import CHECKS
from tinyattn.models.pretrained.families import LLAMA, QK_NORMS
from tinyattn.ops.checks import text
from tinyattn.ops.files.gguf import Gguf
from tinyattn.ops.files.stored import Stored

# Our families by the architectures of GGUF. The rows of queries and keys of a llama model are stored in another order.
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
PERMUTED = {"llama"}
KEYS = {"hidden_size": "embedding_length", "num_hidden_layers": "block_count", "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
        "max_position_embeddings": "context_length", "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "rope_theta": "rope.freq_base", "head_dim": "attention.key_length"}
OPTIONAL = {"head_dim", "rope_theta", "num_key_value_heads"}
NAMES = {"token_embd": LLAMA["embedding"], "output_norm": LLAMA["norm"], "output": LLAMA["head"]}
LAYER_NAMES = {"attn_q": LLAMA["q"], "attn_k": LLAMA["k"], "attn_v": LLAMA["v"], "attn_output": LLAMA["out"],
               "ffn_gate": LLAMA["gate"], "ffn_up": LLAMA["up"], "ffn_down": LLAMA["down"], "attn_norm": LLAMA["attention_norm"],
               "ffn_norm": LLAMA["feed_forward_norm"], "attn_q_norm": QK_NORMS["q_norm"], "attn_k_norm": QK_NORMS["k_norm"]}
EMBEDDING, DIVISORS = "token_embd.weight", "rope_freqs.weight"


def config_of(content: Gguf) -> dict[str, Any]:
    """Returns the config of a GGUF file.

    Raises:
        TypeError, ValueError: an architecture or a scaling of rotary positions that is not known, a key that is missing or whose
            value cannot be built from.
    """
    metadata, tensors = content
    kind = metadata.get("general.architecture")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ValueError(f"general.architecture: {str(kind)[:60]!r} is not known; {', '.join(ARCHITECTURES)} are")
    found = {ours: metadata[f"{kind}.{theirs}"] for ours, theirs in KEYS.items() if f"{kind}.{theirs}" in metadata}
    for ours, value in found.items():
        CHECKS[ours](f"{kind}.{KEYS[ours]}", value)
    if missing := [f"{kind}.{theirs}" for ours, theirs in KEYS.items() if ours not in found and ours not in OPTIONAL]:
        raise ValueError(f"metadata: missing {', '.join(missing)}")
    if EMBEDDING not in tensors:
        raise ValueError(f"tensors: missing {EMBEDDING}")
    heads, width = found["num_attention_heads"], found["hidden_size"]
    dims = metadata.get(f"{kind}.rope.dimension_count")
    if dims is not None and (type(dims) is not int or dims != found.get("head_dim", width // heads)):
        raise ValueError(f"{kind}.rope.dimension_count: {dims} is not built for models of type {kind}, whose heads are rotated whole")
    return {**found, "model_type": ARCHITECTURES[kind], "vocab_size": tensors[EMBEDDING].shape[0], "hidden_act": "silu",
            "tie_word_embeddings": "output.weight" not in tensors, **scaling_of(content, kind)}


def scaling_of(content: Gguf, kind: str) -> dict[str, Any]:
    """Returns the scaling of rotary positions as a config has it: by numbers of the metadata, or by a tensor of divisors."""
    metadata, tensors = content
    prefix = f"{kind}.rope.scaling."
    given = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    name = text(f"{prefix}type", given.pop("type", "none"))
    given.pop("finetuned", None)
    if DIVISORS in tensors:
        if name != "none":
            raise ValueError(f"{kind}.rope.scaling.type: {name!r} beside a tensor {DIVISORS}; expected one of them")
        return {"rope_scaling": {"type": "divided", "divisors": tensors[DIVISORS].array(np.float64)}}
    if name == "none":
        return {}
    words = {"factor": "factor", "original_context_length": "original_max_position_embeddings", "attn_factor": "attention_factor",
             "yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}
    return {"rope_scaling": {"type": name, **{words.get(key, key): value for key, value in given.items()}}}


def tensors_of(content: Gguf, config: Mapping[str, Any]) -> dict[str, Stored]:
    """Returns the tensors by the names that safetensors files of the family have, rows of queries and keys in our order."""
    permuted = content.metadata["general.architecture"] in PERMUTED
    heads = {LLAMA["q"]: config["num_attention_heads"], LLAMA["k"]: config.get("num_key_value_heads", config["num_attention_heads"])}
    found = {}
    for name, stored in content.tensors.items():
        renamed = our_name(name)
        part = renamed.split(".", 3)[-1].rsplit(".", 1)[0]
        if name != DIVISORS:
            found[renamed] = in_halves(stored, heads[part]) if permuted and part in heads else stored
    return found


def our_name(name: str) -> str:
    """Returns the name of a tensor in safetensors files; an unknown name stays, and is later named as unused.

    >>> our_name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    stem, _, end = name.rpartition(".")
    if stem in NAMES:
        return f"{NAMES[stem]}.{end}"
    block, _, rest = stem.partition(".")
    layer, _, part = rest.partition(".")
    return f"{LLAMA['layers']}.{layer}.{LAYER_NAMES[part]}.{end}" if block == "blk" and part in LAYER_NAMES else name


def in_halves(stored: Stored, heads: int) -> Stored:
    """Returns the rows of each head with all first channels of its rotary pairs before all second ones.

    A GGUF file of a llama model has them alternating. Keys have their own number of heads.
    """
    rows = np.arange(stored.shape[0] if stored.shape else 0)
    if not len(rows) or len(rows) % (2 * heads):
        name = stored.name.rpartition(": ")[2]
        raise ValueError(f"{name}: expected a multiple of twice the {heads} heads as rows, got {stored.shape}")
    return stored.reordered(rows.reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1))
