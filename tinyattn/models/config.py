"""The sizes of a decoder, checked before anything is allocated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tinyattn.layers.checks import check_heads
from tinyattn.ops.checks import real, whole
from tinyattn.ops.checks import text as checked_text

# The most bytes that the parameters of a model may take.
LARGEST = 16 << 30
# The standard deviation of the weights of a new model.
DEVIATION = 0.02


def residual_deviation(layers: int) -> float:
    """Returns the standard deviation of matrices whose product is added to their input: smaller in a deeper model.

    >>> residual_deviation(2)
    0.01
    """
    return DEVIATION / (2 * layers) ** 0.5


def keep_sizes(config: Any, *names: str) -> None:
    """Turns the sizes of a config into ints of Python, which do not overflow in a product.

    Raises:
        TypeError: a size that is not an int. ValueError: a size below 1 or above the number of parameters of the largest model.
    """
    for name in names:
        object.__setattr__(config, name, whole(name, getattr(config, name), 1, LARGEST // 4))


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder: a byte-level language model by default.

    Raises:
        TypeError: a size that is not an int, a base that is not a number. ValueError: sizes out of range or that do
            not divide, or a model of more than 16 GiB of float32 parameters.

    >>> DecoderConfig().parameters
    853120
    """

    vocab: int = 256
    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 384
    context: int = 256
    base: float = 10000.0

    def __post_init__(self) -> None:
        keep_sizes(self, *(field.name for field in fields(self) if field.name != "base"))
        object.__setattr__(self, "base", real("base", self.base, above=1.0))
        check_heads(self.width, self.heads, self.kv_heads)
        if self.head_dim % 2:
            raise ValueError(f"heads: rotary positions need an even head_dim, got {self.head_dim}")
        if 4 * self.parameters > LARGEST or self.context > 1 << 30:
            raise ValueError(f"config: {4 * self.parameters} bytes of parameters and a context of {self.context}; "
                             f"at most {LARGEST} bytes and a context of 2^30 are allowed")

    @property
    def head_dim(self) -> int:
        """Channels per head."""
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        """The number of parameters: embedding, head and last norm, and per layer attention, feed-forward and two norms."""
        kv = self.kv_heads * self.head_dim
        layer = 2 * self.width * self.width + 2 * self.width * kv + 3 * self.width * self.hidden + 2 * self.width
        return 2 * self.vocab * self.width + self.layers * layer + self.width

    def to_json(self) -> str:
        """Returns the config as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        """Returns the config written by `to_json`.

        Raises:
            TypeError: the text is not a str. ValueError: text that is not a JSON object, or keys that this version does not know,
                all of which are named.
        """
        try:
            given: Any = json.loads(checked_text("text", text))
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, Mapping):
            raise ValueError(f"config: expected a JSON object as text, got {text[:60]!r}")
        unknown = sorted(set(given) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"config: unknown keys {', '.join(unknown)}; was it written by a newer version?")
        return cls(**given)
