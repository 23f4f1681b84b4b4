"""The parts of the same training step in PyTorch, without its compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyattn.cli.timing.step_parts import in_turn, shapes
from tinyattn.models.config import DecoderConfig


def torch_parts(config: DecoderConfig, batch: int) -> dict[str, Callable[[], None]]:
    """Returns a function per part of the step in PyTorch, by the names that ours have."""
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    sizes, half = shapes(config, batch), config.head_dim // 2
    angles = torch.arange(config.context)[:, None] * config.base ** (-torch.arange(half) / half)
    cos, sin, tokens = angles.cos(), angles.sin(), torch.randint(0, config.vocab, (batch, config.context))

    def both_ways(times: int, function: Callable[..., Any], arrays: list[tuple[int, ...]]) -> Callable[[], None]:
        given = [torch.randn(shape, requires_grad=True) for shape in arrays]

        def run() -> None:
            for _ in range(times):
                outs = function(*given)
                torch.autograd.grad(outs, given, [out.detach() for out in outs])

        return run

    def attend(q: Any, k: Any, v: Any) -> Any:
        grouped = config.heads != config.kv_heads
        return [functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)]

    def feed_forward(x: Any, gate: Any, up: Any, down: Any) -> Any:
        return [(functional.silu(x @ gate) * (x @ up)) @ down]

    def norm(x: Any, weight: Any) -> Any:
        return [x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight]

    def rotate(x: Any) -> Any:
        a, b = x[..., :half], x[..., half:]
        return [torch.cat([a * cos - b * sin, b * cos + a * sin], -1)]

    def loss(logits: Any) -> Any:
        return [functional.cross_entropy(logits.reshape(-1, config.vocab), tokens.reshape(-1))]

    layers = [*sizes.products, sizes.feed_forward]
    matrices = [(times, shape) for times, arrays in layers for shape in arrays[1:] for _ in range(times)]
    parameters = [torch.nn.Parameter(torch.randn(shape)) for _, shape in matrices]
    parameters += [torch.nn.Parameter(torch.randn(sizes.embedding)), *(torch.nn.Parameter(torch.ones(config.width))
                                                                      for _ in range(sizes.norms[0]))]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def optimise() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()

    return {
        "attention": both_ways(sizes.attention[0], attend, sizes.attention[1]),
        "products": in_turn([both_ways(times, lambda x, *weights: [x @ weight for weight in weights], arrays)
                             for times, arrays in sizes.products]),
        "norms": both_ways(sizes.norms[0], norm, sizes.norms[1]),
        "feed-forward": both_ways(sizes.feed_forward[0], feed_forward, sizes.feed_forward[1]),
        "rotary": in_turn([both_ways(times, rotate, arrays) for times, arrays in sizes.rotary]),
        "embedding": both_ways(1, lambda table: [table[tokens]], [sizes.embedding]),
        "loss": both_ways(1, loss, [sizes.logits]),
        "optimiser": optimise,
    }
