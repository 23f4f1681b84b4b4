"""The shapes of well-known models, as far as caches depend on them, and their sources."""

from __future__ import annotations

from dataclasses import dataclass

# Bytes of a number; NumPy itself does not know bfloat16.
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Layers:
    """A number of equal layers: the keys and values of a token, and the number of last tokens that they see (None is all)."""

    count: int
    kv_heads: int
    head_dim: int
    value_dim: int
    window: int | None = None


@dataclass(frozen=True)
class Shape:
    """The query heads and the layers of a model, and their source."""

    heads: int
    layers: tuple[Layers, ...]
    source: str = ""

    @property
    def leaves(self) -> str:
        """What a layer stores per token, in words."""
        parts = dict.fromkeys(f"{part.kv_heads} x ({part.head_dim} + {part.value_dim})" for part in self.layers)
        return " and ".join(parts)

    @property
    def depth(self) -> str:
        """The layers, in words."""
        return " + ".join(f"{part.count}" + (f" of {part.window:,}" if part.window else "") for part in self.layers)


def alike(layers: int, heads: int, kv_heads: int, head_dim: int, source: str, *, window: int | None = None) -> Shape:
    """Returns the shape of a model whose layers are all equal."""
    return Shape(heads, (Layers(layers, kv_heads, head_dim, head_dim, window),), source)


def mixed(local: int, window: int, full: int, heads: int, kv_heads: int, head_dim: int, source: str) -> Shape:
    """Returns the shape of a model with layers that see a window and layers that see all tokens."""
    return Shape(heads, (Layers(full, kv_heads, head_dim, head_dim), Layers(local, kv_heads, head_dim, head_dim, window)), source)


def latent(layers: int, heads: int, rank: int, rope: int, source: str) -> Shape:
    """Returns the shape of latent attention, which stores one latent and one rotated key per token for all heads."""
    return Shape(heads, (Layers(layers, 1, rank, rope),), source)


GPT3, LLAMA2, LLAMA3 = "GPT-3, arXiv:2005.14165", "Llama 2, arXiv:2307.09288", "Llama 3, arXiv:2407.21783"
GEMMA2, GEMMA3, FALCON = "Gemma 2, arXiv:2408.00118", "Gemma 3, arXiv:2503.19786 and its model card", "Falcon, arXiv:2311.16867"
QWEN2, QWEN3, GPT_OSS = "Qwen2.5, arXiv:2412.15115", "Qwen3, arXiv:2505.09388", "gpt-oss model card, arXiv:2508.10925"
PRESETS = {
    "gpt-3-175b": alike(96, 96, 96, 128, GPT3),
    "palm-540b": alike(118, 48, 1, 256, "PaLM, arXiv:2204.02311"),
    "llama-2-7b": alike(32, 32, 32, 128, LLAMA2),
    "llama-2-70b": alike(80, 64, 8, 128, LLAMA2),
    "llama-3-8b": alike(32, 32, 8, 128, LLAMA3),
    "llama-3-70b": alike(80, 64, 8, 128, LLAMA3),
    "llama-3-405b": alike(126, 128, 8, 128, LLAMA3),
    "mistral-7b": alike(32, 32, 8, 128, "Mistral 7B, arXiv:2310.06825", window=4096),
    "mixtral-8x7b": alike(32, 32, 8, 128, "Mixtral of Experts, arXiv:2401.04088"),
    "falcon-7b": alike(32, 71, 1, 64, FALCON),
    "falcon-180b": alike(80, 232, 8, 64, FALCON),
    "gemma-2b": alike(18, 8, 1, 256, "Gemma, arXiv:2403.08295"),
    "gemma-2-9b": mixed(21, 4096, 21, 16, 8, 256, GEMMA2),
    "gemma-2-27b": mixed(23, 4096, 23, 32, 16, 128, GEMMA2),
    "gemma-3-27b": mixed(52, 1024, 10, 32, 16, 128, GEMMA3),
    "qwen2.5-7b": alike(28, 28, 4, 128, QWEN2),
    "qwen2.5-72b": alike(80, 64, 8, 128, QWEN2),
    "qwen3-32b": alike(64, 64, 8, 128, QWEN3),
    "qwen3-235b-a22b": alike(94, 64, 4, 128, QWEN3),
    "deepseek-v2": latent(60, 128, 512, 64, "DeepSeek-V2, arXiv:2405.04434"),
    "deepseek-v3": latent(61, 128, 512, 64, "DeepSeek-V3, arXiv:2412.19437"),
    "gpt-oss-20b": mixed(12, 128, 12, 64, 8, 64, GPT_OSS),
    "gpt-oss-120b": mixed(18, 128, 18, 64, 8, 64, GPT_OSS),
}
