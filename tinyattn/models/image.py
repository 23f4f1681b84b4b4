"""A small image model, from patches to the logits of classes, with any mechanism that works on a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from tinyattn.layers.attention import SelfAttention
from tinyattn.layers.block import Block
from tinyattn.layers.checks import check_heads, check_parts
from tinyattn.layers.linear import normal, project
from tinyattn.layers.norm import RMSNorm
from tinyattn.layers.patch import PatchEmbedding
from tinyattn.models.config import keep_sizes, residual_deviation
from tinyattn.models.given import check_blocks, check_given, label_array
from tinyattn.ops.checks import has_axes
from tinyattn.ops.loss import cross_entropy
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid


@dataclass(frozen=True)
class ImageConfig:
    """Sizes of an image model.

    Raises:
        TypeError: a size that is not an int. ValueError: a size below 1, or sizes that do not divide.

    >>> ImageConfig().grid
    (4, 4)
    """

    side: int = 8
    patch: int = 2
    width: int = 64
    layers: int = 2
    heads: int = 4
    hidden: int = 128
    classes: int = 10

    def __post_init__(self) -> None:
        keep_sizes(self, *(field.name for field in fields(self)))
        if self.side % self.patch:
            raise ValueError(f"patch: expected a divisor of the side {self.side}, got {self.patch}")
        check_heads(self.width, self.heads, self.heads)

    @property
    def grid(self) -> Grid:
        """Patches along each axis."""
        return (self.side // self.patch,) * 2


BlockOf = Callable[[np.random.Generator, int, ImageConfig], Any]


def attending(mechanism: Callable[[int], Callable[..., Any]]) -> BlockOf:
    """Returns a function that makes blocks; block number n attends by mechanism(n), a function of q, k, v and grid=."""
    def make(rng: np.random.Generator, number: int, config: ImageConfig) -> Block:
        attend, smaller = partial(mechanism(number), grid=config.grid), residual_deviation(config.layers)
        attention = SelfAttention.create(rng, config.width, config.heads, config.heads, mechanism=attend, base=None, deviation=smaller)
        return Block.create(rng, attention, config.width, config.hidden, deviation=smaller)

    return make


@dataclass(frozen=True, eq=False)
class ImageModel:
    """Patch embedding, blocks, the mean of the normalised cells, head.

    images (batch, side, side) -> logits (batch, classes).

    >>> from tinyattn import definitions
    >>> block = attending(lambda number: partial(definitions.axial_attention, axis=number))
    >>> model = ImageModel.create(ImageConfig(), np.random.default_rng(0), block=block)
    >>> model(np.ones((3, 8, 8), np.float32)).shape
    (3, 10)
    """

    embedding: PatchEmbedding
    blocks: tuple[Any, ...]
    norm: RMSNorm
    head: Array

    def __post_init__(self) -> None:
        check_parts(embedding=self.embedding, norm=self.norm)
        check_blocks(self.blocks)
        has_axes("head", floating("head", self.head), 2)

    def __repr__(self) -> str:
        return f"ImageModel(width={self.head.shape[0]}, layers={len(self.blocks)}, classes={self.head.shape[1]})"

    @classmethod
    def create(cls, config: ImageConfig, rng: np.random.Generator, *, block: BlockOf) -> ImageModel:
        """Returns the model with normal weights; block(rng, number, config) makes each of its blocks."""
        check_given("config", config, "an ImageConfig", "grid", "patch", "width")
        check_given("block", block, "a function that makes a block")
        return cls(PatchEmbedding.create(rng, config.grid, config.patch, config.width),
                   tuple(block(rng, number, config) for number in range(config.layers)),
                   RMSNorm.create(config.width), normal(rng, config.width, config.classes))

    def __call__(self, images: Array) -> Array:
        x = self.embedding(images)
        for block in self.blocks:
            x = block(x)
        return project(np.mean(self.norm(x), axis=-2), self.head)


def image_loss(model: ImageModel, images: Array, labels: Array) -> Array:
    """Returns the mean cross-entropy of the logits of the model, in nats.

    Raises:
        TypeError: an object that is not a model, images that are not a floating array, labels that are not integers. ValueError:
            images that do not fit the model, labels of another shape. IndexError: a label that is not a class.

    >>> round(float(image_loss(lambda images: np.zeros((1, 2)), np.zeros((1, 8, 8)), np.array([0]))), 4)
    0.6931
    """
    check_given("model", model, "an ImageModel")
    logits = model(images)
    return cross_entropy(logits, label_array("labels", labels, images, logits.shape[:-1], logits.shape[-1]))
