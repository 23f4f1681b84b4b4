"""The feed-forward layer and the block that trained models are made of: gated or not, and residuals in three orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyattn.layers.checks import check_parts
from tinyattn.ops.checks import real
from tinyattn.ops.types import Array

# serial: x + attention(norm(x)), then x + feed_forward(norm(x)). parallel: both read x, and both are added to it.
# after: norm(x + attention(x)), then norm(x + feed_forward(x)), as BERT has it.
ORDERS = ("serial", "parallel", "after")


def same(x: Array) -> Array:
    """Returns x, in the place of a norm that a model does not have.

    >>> same(3)
    3
    """
    return x


@dataclass(frozen=True, eq=False)
class FeedForward:
    """down(activation(gate(x)) * up(x)), or down(activation(up(x))) where the gate is None. x (..., width) -> the same shape.

    >>> import numpy as np
    >>> from tinyattn.layers.affine import Affine
    >>> from tinyattn.ops import exact_gelu
    >>> FeedForward(Affine(np.ones((8, 4))), Affine(np.ones((4, 8))), exact_gelu)(np.ones((2, 4))).shape
    (2, 4)
    """

    up: Callable[[Array], Array]
    down: Callable[[Array], Array]
    activation: Callable[[Array], Array]
    gate: Callable[[Array], Array] | None = None

    def __post_init__(self) -> None:
        check_parts(up=self.up, down=self.down, activation=self.activation, gate=same if self.gate is None else self.gate)

    def __call__(self, x: Array) -> Array:
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))


@dataclass(frozen=True, eq=False)
class ResidualBlock:
    """Attention and feed-forward with their residuals, in one of three orders, and a norm before or behind each.

    serial: x + m out_norm(attention(norm(x))), and the same with the feed-forward layer. parallel: both read the same x and are
    added to it. after: norm(x + attention(x)), and the same with the feed-forward layer. A norm that a model lacks is `same`;
    m is `multiplier`.

    Papers: parallel: arXiv:2204.02311; after: arXiv:1706.03762; norms behind both: arXiv:2501.00656.

    >>> ResidualBlock(same, lambda x, cache, **options: 2 * x, same, same, lambda x: 3 * x, same, "parallel")(1.0)
    6.0
    """

    attention_norm: Callable[[Array], Array]
    attention: Callable[..., Array]
    attention_out_norm: Callable[[Array], Array]
    feed_forward_norm: Callable[[Array], Array]
    feed_forward: Callable[[Array], Array]
    feed_forward_out_norm: Callable[[Array], Array]
    order: str = "serial"
    multiplier: float = 1.0

    def __post_init__(self) -> None:
        check_parts(attention_norm=self.attention_norm, attention=self.attention, attention_out_norm=self.attention_out_norm,
                    feed_forward_norm=self.feed_forward_norm, feed_forward=self.feed_forward,
                    feed_forward_out_norm=self.feed_forward_out_norm)
        if self.order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}, got {self.order!r}")
        object.__setattr__(self, "multiplier", real("multiplier", self.multiplier))

    def __call__(self, x: Array, *, cache: Any = None, **options: Any) -> Array:
        if self.order == "after":
            x = self.attention_norm(x + self.attention(x, cache=cache, **options))
            return self.feed_forward_norm(x + self.feed_forward(x))
        attended = self.attention_out_norm(self.attention(self.attention_norm(x), cache=cache, **options))
        if self.order == "parallel":
            return x + attended * self.multiplier + self.feed_forward_out_norm(
                self.feed_forward(self.feed_forward_norm(x))) * self.multiplier
        x = x + attended * self.multiplier
        return x + self.feed_forward_out_norm(self.feed_forward(self.feed_forward_norm(x))) * self.multiplier
