"""The training step of the default model in PyTorch, without its compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyattn.models.config import DecoderConfig


def make_step(config: DecoderConfig, *, batch: int) -> Callable[[], Any]:
    """Returns a function that takes one step of AdamW on random bytes."""
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    width, heads, kv_heads, dim, length = config.width, config.heads, config.kv_heads, config.head_dim, config.context

    def matrix(*shape: int) -> Any:
        return torch.nn.Parameter(torch.randn(*shape) * 0.02)

    embedding, head, last = matrix(config.vocab, width), matrix(width, config.vocab), torch.nn.Parameter(torch.ones(width))
    layers = [{"norm1": torch.nn.Parameter(torch.ones(width)), "norm2": torch.nn.Parameter(torch.ones(width)),
               "q": matrix(width, width), "k": matrix(width, kv_heads * dim), "v": matrix(width, kv_heads * dim),
               "out": matrix(width, width), "gate": matrix(width, config.hidden), "up": matrix(width, config.hidden),
               "down": matrix(config.hidden, width)} for _ in range(config.layers)]
    parameters = [embedding, head, last, *(p for layer in layers for p in layer.values())]
    angles = torch.arange(length)[:, None] * config.base ** (-torch.arange(dim // 2) / (dim // 2))
    cos, sin = angles.cos(), angles.sin()
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def rotate(x: Any) -> Any:
        a, b = x[..., : dim // 2], x[..., dim // 2 :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def norm(x: Any, weight: Any) -> Any:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight

    def forward(tokens: Any) -> Any:
        x = embedding[tokens]
        for layer in layers:
            y = norm(x, layer["norm1"])
            q, k, v = ((y @ layer[name]).view(batch, length, -1, dim).transpose(1, 2) for name in "qkv")
            read = functional.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True,
                                                           enable_gqa=heads != kv_heads)
            x = x + read.transpose(1, 2).reshape(batch, length, width) @ layer["out"]
            y = norm(x, layer["norm2"])
            x = x + (functional.silu(y @ layer["gate"]) * (y @ layer["up"])) @ layer["down"]
        return norm(x, last) @ head

    def step() -> Any:
        tokens = torch.randint(0, config.vocab, (batch, length + 1))
        loss = functional.cross_entropy(forward(tokens[:, :-1]).reshape(-1, config.vocab), tokens[:, 1:].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return float(loss.detach())

    return step
