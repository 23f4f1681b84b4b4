"""Arguments of a mechanism besides q, k and v: gates, decays or strengths computed from the tokens, and learned parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.layers.linear import normal, project
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


def log_sigmoid(x: Array) -> Array:
    """Returns log(1 / (1 + exp(-x))), which is at most 0.

    >>> bool(abs(log_sigmoid(np.array([0.0]))[0] + np.log(2.0)) < 1e-15)
    True
    """
    return -np.logaddexp(0.0, -x)


def identity(x: Array) -> Array:
    """Returns x, for an argument that a mechanism takes as a logit.

    >>> identity(np.array([2.0]))
    array([2.])
    """
    return x


def between(least: float, most: float) -> Callable[[Array], Array]:
    """Returns the activation least + (most - least) sigmoid(x).

    >>> between(1.0, 3.0)(np.array([0.0]))
    array([2.])
    """
    def bounded(x: Array) -> Array:
        return sigmoid(x) * (most - least) + least

    bounded.__name__ = f"between({least:g}, {most:g})"
    return bounded


# The axes per token, in words, for the axes that a mechanism declares: options of queries have all heads, those of keys kv_heads.
AXES = {"i": "heads", "j": "kv_heads", "d": "head_dim"}


def numbers(axes: str, heads: int, kv_heads: int, head_dim: int) -> tuple[int, ...]:
    """Returns the lengths of axes that are named in words.

    >>> numbers("kv_heads head_dim 3", 8, 2, 64)
    (2, 64, 3)
    """
    known = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    return tuple(known[word] if word in known else int(word) for word in axes.split())


@dataclass(frozen=True)
class Input:
    """An argument computed from the tokens: activation(x W + initial).

    `axes` is its shape per token in words: "heads", "kv_heads", "heads 3", "kv_heads head_dim". `Input.of` reads it from the
    mechanism.
    """

    name: str
    axes: str
    activation: Callable[[Array], Array]
    initial: float

    @classmethod
    def of(cls, mechanism: Callable[..., Any], name: str, activation: Callable[[Array], Array], initial: float) -> Input:
        """Returns the input for an option that the mechanism declares by `@shapes(..., per_token=...)`.

        Raises:
            ValueError: a mechanism that does not declare this option.

        >>> from tinyattn import definitions
        >>> Input.of(definitions.gated_linear_attention, "log_decay", log_sigmoid, 4.0).axes
        'kv_heads head_dim'
        """
        declared: dict[str, str] = getattr(mechanism, "per_token", {})
        if name not in declared:
            raise ValueError(f"name: expected an option with one entry per token, of {', '.join(declared) or 'none'}, got {name!r}")
        return cls(name, " ".join(AXES.get(axis, axis) for axis in declared[name].strip("()").split(",")), activation, initial)

    def __str__(self) -> str:
        return (f"{self.name} ({self.axes} per token): a layer computes {self.activation.__name__}(x W + b), "
                f"and b begins at {self.initial:g}")

    def create(self, rng: np.random.Generator, width: int, heads: int, kv_heads: int, head_dim: int) -> Projection:
        """Returns the projection with small weights, so that its values start near activation(initial)."""
        sizes = numbers(self.axes, heads, kv_heads, head_dim)
        count = int(np.prod(sizes))
        return Projection(normal(rng, width, count), np.full(count, self.initial, np.float32), sizes, self)


@dataclass(frozen=True, eq=False)
class Projection:
    """An `Input` with its weights: x (..., length, width) -> (..., heads, length) or (..., heads, length, n)."""

    weight: Array
    offset: Array
    sizes: tuple[int, ...]
    input: Input

    @widened
    def __call__(self, x: Array) -> Array:
        values = self.input.activation(project(x, self.weight) + self.offset)
        shaped = values.reshape(*values.shape[:-1], *self.sizes)
        out: Array = np.moveaxis(shaped, -1, -2) if len(self.sizes) == 1 else np.swapaxes(shaped, -2, -3)
        return out


@dataclass(frozen=True)
class Parameter:
    """A learned array as an argument, the same for all tokens, such as an embedding of positions; `axes` is its shape in words."""

    name: str
    axes: str
    initial: float

    def create(self, rng: np.random.Generator, width: int, heads: int, kv_heads: int, head_dim: int) -> Learned:
        """Returns the parameter at its initial value."""
        return Learned(np.full(numbers(self.axes, heads, kv_heads, head_dim), self.initial, np.float32), self)

    def __str__(self) -> str:
        return f"{self.name} ({self.axes}): a layer learns it, and it begins at {self.initial:g}"


@dataclass(frozen=True, eq=False)
class Learned:
    """A `Parameter` with its values, which do not depend on x."""

    values: Array
    input: Parameter

    def __call__(self, x: Array) -> Array:
        return self.values
