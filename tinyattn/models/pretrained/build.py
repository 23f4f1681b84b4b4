"""A model made from a config and tensors; one error names all tensors that are missing, do not fit or are not used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.layers.affine import Affine
from tinyattn.layers.mixed import FeedForward, ResidualBlock, same
from tinyattn.layers.norm import LayerNorm, RMSNorm
from tinyattn.layers.trained_attention import TrainedAttention
from tinyattn.models.pretrained.config_values import LARGEST, checked
from tinyattn.models.pretrained.families import ATTENTION_ONLY, FAMILIES, Family
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
# The code of a placeholder for a missing tensor, so that one error can name all that are missing.
MISSING = "missing"
WINDOWED, FULL = "sliding_attention", "full_attention"


class Builder:
    """Takes tensors by the names of their parts, and notes those that are missing, have a wrong shape, or are never taken."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Stored], dtype: Any,
                 families: Mapping[str, Family] = FAMILIES) -> None:
        config = checked(config)
        kind = config.get("model_type")
        if kind in ATTENTION_ONLY and kind not in families:
            raise ValueError(f"config: the feed-forward layers of {kind} are experts, which are not built; load_attention gives its "
                             f"attention")
        if not isinstance(kind, str) or kind not in families:
            raise ValueError(f"config: the model type {str(kind)[:60]!r} is not known; {', '.join(families)} are")
        self.config, self.family, self.dtype = config, families[kind], np.dtype(dtype)
        self.tensors = prefixed(tensors, self.family)
        for key, value in self.family.refused.items():
            if config.get(key, value) != value:
                raise ValueError(f"config: {key} = {config[key]} is not built for models of type {kind}")
        self.names, self.taken, self.faults = self.family.names, set[str](), list[str]()
        self.width, self.layers, self.heads, self.vocab = map(self.size, SIZES)
        if self.layers > len(tensors):
            raise ValueError(f"config: {self.layers} layers, and the file holds {len(tensors)} tensors")
        grouped = None if self.family.fused == "by head" else config.get("num_key_value_heads")
        self.kv_heads = whole("config: num_key_value_heads", grouped or self.heads, 1, self.heads)
        self.head_dim = config.get("head_dim") or whole("config: head_dim", self.width // self.heads, 1)
        if self.heads * self.head_dim > LARGEST:
            raise ValueError(f"config: {self.heads} heads of {self.head_dim} channels; at most {LARGEST} in all are built")
        self.rotations: dict[str, Frequencies | FrequenciesByLength] = {}
        self.biases = self.family.biases(config)

    def size(self, name: str) -> int:
        """Returns a size of the config by our name for it."""
        for key in SIZES[name]:
            if key in self.config:
                return int(self.config[key])
        raise ValueError(f"config: lacks {SIZES[name][0]}")

    def take(self, name: str, shape: tuple[int, ...]) -> Stored:
        """Returns a tensor; where it is missing or has another shape, that is noted, and an empty one stands in its place."""
        self.taken.add(name)
        stored = self.tensors.get(name)
        if stored is not None and stored.shape == shape:
            return stored
        self.faults.append(f"missing {name} {shape}" if stored is None else f"{name}: expected {shape}, got {stored.shape}")
        return Stored(name, MISSING, shape, np.zeros(0, np.uint8))

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        """Returns a small tensor as an array of the dtype in which the model computes."""
        stored = self.take(name, shape)
        return np.broadcast_to(self.dtype.type(0), shape) if stored.code == MISSING else stored.array(self.dtype)

    def affine(self, part: str, prefix: str, outputs: int, inputs: int) -> Affine:
        """Returns a matrix with its bias, if this part has one."""
        name = prefix + self.names[part]
        shape = (inputs, outputs) if self.family.transposed else (outputs, inputs)
        weight = self.array(f"{name}.weight", shape).T if self.family.transposed else self.take(f"{name}.weight", shape)
        fused = {"qkv": "q", "gate_up": "up"}.get(part, part)
        return Affine(weight, self.array(f"{name}.bias", (outputs,)) if fused in self.biases else None)

    def norm(self, part: str, prefix: str, width: int) -> Callable[[Array], Array]:
        """Returns a norm, or `same` where the family has none in this place."""
        if part not in self.names:
            return same
        kind, key = self.family.norm, self.family.epsilon
        epsilon = self.config[key] if isinstance(key, str) else key
        if kind == "none":
            return LayerNorm(None, None, epsilon)
        weight = self.array(f"{prefix}{self.names[part]}.weight", (width,))
        if kind.startswith("rms"):
            return RMSNorm(weight + 1 if kind == "rms + 1" else weight, epsilon)
        return LayerNorm(weight, self.array(f"{prefix}{self.names[part]}.bias", (width,)) if kind == "layer" else None, epsilon)

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


def prefixed(tensors: Mapping[str, Stored], family: Family) -> Mapping[str, Stored]:
    """Returns the tensors by their full names: some files leave out the prefix that all names of a family have."""
    if any(name.startswith(family.prefix) for name in tensors):
        return tensors
    heads = {f"{family.names['head']}.weight"} if "head" in family.names else set[str]()
    return {name if name in heads else family.prefix + name: stored for name, stored in tensors.items()}


def cut(matrix: Affine, rows: Array) -> Affine:
    """Returns some of the outputs of a matrix.

    >>> cut(Affine(np.eye(3), np.arange(3.0)), np.array([2]))(np.ones(3))
    array([3.])
    """
    weight = matrix.weight
    return Affine(weight.reordered(rows) if isinstance(weight, Stored) else weight[rows],
                  None if matrix.bias is None else matrix.bias[rows])


def build(config: Mapping[str, Any], tensors: Mapping[str, Stored], *, dtype: Any = np.float32) -> Transformer:
    """Returns the model of a config, whose matrices stay in their files, and which computes in this dtype.

    Raises:
        ValueError: a type of model, scaling, activation or layer that is not known, or a list of all tensors that are missing,
            have another shape, or are not used.
    """
    return Builder(config, tensors, dtype).model()
