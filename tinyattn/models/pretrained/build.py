"""A model made from a config and tensors; one error names all tensors that are missing, do not fit or are not used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.layers.affine import Affine
from tinyattn.layers.mixed import FeedForward, ResidualBlock
from tinyattn.layers.trained_attention import TrainedAttention
from tinyattn.models.pretrained.config_values import LARGEST, checked
from tinyattn.models.pretrained.families import ATTENTION_ONLY, FAMILIES, Family
from tinyattn.models.pretrained.parts import MISSING, Parts, cut
from tinyattn.models.pretrained.scaling import frequencies_of
from tinyattn.models.pretrained.transformer import Transformer
from tinyattn.ops.activation import exact_gelu, gelu, relu, relu_squared, silu
from tinyattn.ops.checks import whole
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.positions.frequencies import Frequencies, FrequenciesByLength
from tinyattn.ops.types import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": silu, "swish": silu, "gelu": exact_gelu, "gelu_new": gelu, "gelu_pytorch_tanh": gelu, "gelu_fast": gelu, "relu": relu,
    "relu2": relu_squared}
# The names of sizes in configs, ours first, then those that families have.
SIZES = {"width": ("hidden_size", "n_embd"), "layers": ("num_hidden_layers", "n_layer"), "heads": ("num_attention_heads", "n_head"),
         "vocab": ("vocab_size",)}
WINDOWED, FULL = "sliding_attention", "full_attention"


class Builder(Parts):
    """Builds the layers of a model from a config and the parts that its tensors give."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Stored], dtype: Any,
                 families: Mapping[str, Family] = FAMILIES) -> None:
        config = checked(config)
        kind = config.get("model_type")
        if kind in ATTENTION_ONLY and kind not in families:
            raise ValueError(f"config: the feed-forward layers of {kind} are experts, which are not built; load_attention gives its "
                             f"attention")
        if not isinstance(kind, str) or kind not in families:
            raise ValueError(f"config: the model type {str(kind)[:60]!r} is not known; {', '.join(families)} are")
        super().__init__(config, tensors, dtype, families[kind])
        for key, value in self.family.refused.items():
            if config.get(key, value) != value:
                raise ValueError(f"config: {key} = {config[key]} is not built for models of type {kind}")
        self.width, self.layers, self.heads, self.vocab = map(self.size, SIZES)
        if self.layers > len(tensors):
            raise ValueError(f"config: {self.layers} layers, and the file holds {len(tensors)} tensors")
        grouped = None if self.family.fused == "by head" else config.get("num_key_value_heads")
        self.kv_heads = whole("config: num_key_value_heads", grouped or self.heads, 1, self.heads)
        self.head_dim = config.get("head_dim") or whole("config: head_dim", self.width // self.heads, 1)
        if self.heads * self.head_dim > LARGEST:
            raise ValueError(f"config: {self.heads} heads of {self.head_dim} channels; at most {LARGEST} in all are built")
        self.rotations: dict[str, Frequencies | FrequenciesByLength] = {}

    def size(self, name: str) -> int:
        """Returns a size of the config by our name for it."""
        for key in SIZES[name]:
            if key in self.config:
                return int(self.config[key])
        raise ValueError(f"config: lacks {SIZES[name][0]}")

    def projections(self, prefix: str) -> tuple[Affine, Affine, Affine]:
        """Returns the matrices of queries, keys and values, cut out of one where a family has them in one."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        if self.family.fused is None:
            made = [self.affine(part, prefix, outputs, self.width) for part, outputs in (("q", q), ("k", kv), ("v", kv))]
        else:
            fused, rows = self.affine("qkv", prefix, q + 2 * kv, self.width), np.arange(q + 2 * kv)
            if self.family.fused == "stacked":
                order = np.split(rows, [q, q + kv])
            else:  # the rows of a head are its queries, then its keys, then its values
                order = list(rows.reshape(self.heads, 3, self.head_dim).transpose(1, 0, 2).reshape(3, -1))
            made = [cut(fused, some) for some in order]
        return made[0], made[1], made[2]

    def attention(self, layer: int, prefix: str) -> TrainedAttention:
        """Returns the attention of a layer."""
        kind = self.kind_of(layer)
        window = self.config.get("sliding_window") if kind == WINDOWED else None
        options: dict[str, Any] = {"scale": self.family.scale(self.config), "softcap": self.config.get("attn_logit_softcapping")}
        if window is not None:
            options["window"] = (window - 1, 0)  # a config counts the token itself too
        turned = self.config.get("no_rope_layers") or [1] * self.layers
        if len(turned) != self.layers:
            raise ValueError(f"config: no_rope_layers: expected {self.layers} numbers, one per layer, got {len(turned)}")
        width = (self.heads * self.head_dim, self.kv_heads * self.head_dim) if self.family.norms_whole else (self.head_dim,) * 2
        return TrainedAttention(*self.projections(prefix), self.affine("out", prefix, self.width, self.heads * self.head_dim),
                                self.heads, self.kv_heads, fastest.attention,
                                self.frequencies(kind) if turned[layer] and "positions" not in self.names else None,
                                self.family.interleaved,
                                self.norm("q_norm", prefix, width[0]), self.norm("k_norm", prefix, width[1]),
                                self.family.norms_whole, self.config.get("clip_qkv"),
                                {name: option for name, option in options.items() if option is not None})

    def frequencies(self, kind: str) -> Frequencies | FrequenciesByLength:
        """Returns the rotary frequencies of layers of a kind, one object for all of them, so that its tables are computed once."""
        if kind not in self.rotations:
            self.rotations[kind] = frequencies_of(self.config, self.head_dim, kind)
        return self.rotations[kind]

    def kind_of(self, layer: int) -> str:
        """Returns whether a layer has a window."""
        kinds = self.config.get("layer_types")
        if kinds:
            if len(kinds) != self.layers or not set(kinds) <= {WINDOWED, FULL}:
                raise ValueError(f"config: layer_types: expected {self.layers} of {WINDOWED} and {FULL}, got {str(kinds)[:60]}")
            return kinds[layer]
        if self.config.get("use_sliding_window", True) and layer >= self.config.get("max_window_layers", 0):
            return WINDOWED if self.config.get("sliding_window") else FULL
        return FULL

    def feed_forward(self, prefix: str) -> FeedForward:
        """Returns the feed-forward layer of a layer."""
        config = self.config
        hidden = config.get("intermediate_size") or config.get("n_inner") or 4 * self.width
        name = self.family.activation or config.get("hidden_act") or config.get("activation_function")
        if name not in ACTIVATIONS:
            raise ValueError(f"config: the activation {str(name)[:60]!r} is not known; {', '.join(ACTIVATIONS)} are")
        if "gate_up" in self.names:
            both = self.affine("gate_up", prefix, 2 * hidden, self.width)
            gate: Affine | None = cut(both, np.arange(hidden))
            up = cut(both, np.arange(hidden, 2 * hidden))
        else:
            gate = self.affine("gate", prefix, hidden, self.width) if "gate" in self.names else None
            up = self.affine("up", prefix, hidden, self.width)
        return FeedForward(up, self.affine("down", prefix, self.width, hidden), ACTIVATIONS[name], gate)

    def block(self, layer: int) -> ResidualBlock:
        """Returns a layer."""
        prefix = f"{self.names['layers']}.{layer}."
        norms = [self.norm(part, prefix, self.width) for part in
                 ("attention_norm", "attention_out_norm", "feed_forward_norm", "feed_forward_out_norm")]
        return ResidualBlock(norms[0], self.attention(layer, prefix), norms[1], norms[2], self.feed_forward(prefix), norms[3],
                             self.family.order(self.config), self.family.residual(self.config))

    def model(self) -> Transformer:
        """Returns the whole model; raises ValueError that lists all tensors that are missing, do not fit or are not used."""
        embedding = self.take(f"{self.names['embedding']}.weight", (self.vocab, self.width))
        positions = self.positions()
        blocks = tuple(self.block(layer) for layer in range(self.layers))
        norm, head = self.norm("norm", "", self.width), self.head(embedding) if "head" in self.names else None
        embedding_norm = self.norm("embedding_norm", "", self.width)
        self.faults += [f"unused {name} {stored.shape}" for name, stored in self.tensors.items()
                        if name not in self.taken and not name.endswith(self.family.unread)]
        if self.faults:
            raise ValueError("tensors do not fit the config: " + "; ".join(sorted(self.faults)))
        return Transformer(embedding, positions, blocks, norm, head, self.dtype, self.family.embedding_scale(self.config),
                           self.family.logit_scale(self.config), self.config.get("final_logit_softcapping"),
                           embedding_norm, self.family.causal)

    def positions(self) -> Array | Stored | None:
        """Returns the table of learned positions, plus the vector of token type 0 if token types have vectors."""
        if "positions" not in self.names:
            return None
        key = "n_positions" if "n_positions" in self.config else "max_position_embeddings"
        length = self.config.get(key, 1024)
        table = self.take(f"{self.names['positions']}.weight", (length, self.width))
        if "token_types" not in self.names:
            return table
        kinds = self.array(f"{self.names['token_types']}.weight", (self.config.get("type_vocab_size", 2), self.width))
        return np.zeros((0, self.width), self.dtype) if table.code == MISSING else table.array(self.dtype) + kinds[0]

    def head(self, embedding: Stored) -> Affine:
        """Returns the head: its own matrix, or the embedding where the config ties both. A copy in the file must be equal."""
        name = f"{self.names['head']}.weight"
        if not self.config.get("tie_word_embeddings", self.family.tied):
            weight = self.take(name, (self.vocab, self.width))
            bias = self.array(f"{self.names['head']}.bias", (self.vocab,)) if "head" in self.biases else None
            return Affine(weight, bias)
        if name in self.tensors:
            copy = self.take(name, (self.vocab, self.width))
            if copy.code != embedding.code or not np.array_equal(copy.raw, embedding.raw):
                self.faults.append(f"{name}: differs from the embedding, and the config ties both")
        return Affine(embedding)


def build(config: Mapping[str, Any], tensors: Mapping[str, Stored], *, dtype: Any = np.float32) -> Transformer:
    """Returns the model of a config, whose matrices stay in their files, and which computes in this dtype.

    Raises:
        ValueError: a type of model, scaling, activation or layer that is not known, or a list of all tensors that are missing,
            have another shape, or are not used.
    """
    return Builder(config, tensors, dtype).model()
