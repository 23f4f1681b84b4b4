"""How layers are called: each is made of its arrays and then used, so that what is wrong with them is seen."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from door import Door
from samples_ops import of

from tinyattn import definitions, layers
from tinyattn.ops import plain_frequencies, silu

MODULE = layers
RNG = np.random.default_rng
X = RNG(0).standard_normal((2, 6, 8)).astype(np.float32)
IMAGES = RNG(1).standard_normal((2, 4, 6)).astype(np.float32)
GRID = (2, 3)


def drawn() -> np.random.Generator:
    return RNG(0)


def self_attention() -> layers.SelfAttention:
    return layers.SelfAttention.create(drawn(), 8, 2, 1, mechanism=definitions.attention)


def cross_attention() -> layers.CrossAttention:
    return layers.CrossAttention.create(drawn(), 8, 2, 1, mechanism=definitions.attention, memory_width=8)


def latent() -> layers.LatentAttention:
    return layers.LatentAttention.create(drawn(), 8, 2, 2)


def tensor_product() -> layers.TensorProductAttention:
    return layers.TensorProductAttention.create(drawn(), 8, 2, 1)


def gate() -> layers.SpatialGate:
    return layers.SpatialGate.create(drawn(), GRID, size=3)


def swin() -> layers.SwinBlock:
    return layers.SwinBlock.create(drawn(), 8, 2, 16, grid=(2, 4), window=2, shift=1)


def block() -> layers.Block:
    return layers.Block(layers.RMSNorm.create(8), self_attention(), layers.RMSNorm.create(8), layers.SwiGLU.create(drawn(), 8, 16))


def affine(outputs: int = 8) -> layers.Affine:
    return layers.Affine(RNG(3).standard_normal((outputs, 8)).astype(np.float32))


def trained() -> layers.TrainedAttention:
    norm = layers.RMSNorm.create(4)
    return layers.TrainedAttention(affine(), affine(4), affine(4), affine(), 2, 1, definitions.attention, plain_frequencies(4), False, norm, norm, False,
                                   5.0, {"scale": 0.5}, affine())


def residual() -> layers.ResidualBlock:
    norm = layers.RMSNorm.create(8)
    return layers.ResidualBlock(norm, trained(), norm, norm, layers.FeedForward(affine(), affine(), silu), norm, "serial", 1.0)


def parts(make: Callable[[], Any]) -> Callable[[], dict[str, Any]]:
    """Returns a function that gives the fields of a layer that it makes."""
    return lambda: {field.name: getattr(layer, field.name) for layer in [make()] for field in fields(layer)}


def used(*inputs: Any) -> Callable[[Any, Any], Any]:
    """Returns a function that gives what a layer returns of inputs."""
    return lambda made, layer: layer(*inputs)


SWIN = RNG(2).standard_normal((2, 8, 8)).astype(np.float32)
# A layer judges its arrays when it is used: an error names the product in which one does not fit.
USED = ("weight", "x", "dims", "heads", "k_rope", "images", "q", "k", "v", "grid", "kernel")
CREATED = {"width": 8, "heads": 2, "kv_heads": 1}
DOORS = {
    "Affine": Door(of(weight=np.ones((8, 8), np.float32), bias=np.ones(8, np.float32)), after=used(X), also=USED, optional=("bias",)),
    "Affine.__call__": Door(of(x=X), make=affine),
    "FeedForward": Door(lambda: {"up": affine(), "down": affine(), "activation": silu, "gate": affine()}, after=used(X), also=USED, optional=("gate",)),
    "FeedForward.__call__": Door(of(x=X), make=lambda: layers.FeedForward(affine(), affine(), silu)),
    "Block": Door(parts(block), after=used(X), also=USED),
    "Block.create": Door(lambda: {"rng": drawn(), "attention": self_attention(), "width": 8, "hidden": 16, "deviation": 0.02}, after=used(X), also=USED),
    "Block.__call__": Door(of(x=X), make=block),
    "CrossAttention": Door(parts(cross_attention), after=used(X, X), also=USED),
    "CrossAttention.__call__": Door(of(x=X, memory=X), make=cross_attention, also=("k",)),
    "CrossAttention.create": Door(lambda: {"rng": drawn(), **CREATED, "mechanism": definitions.attention, "memory_width": 8}, after=used(X, X),
                                  optional=("memory_width",), also=("inputs",)),
    "LatentAttention": Door(parts(latent), after=used(X), also=USED),
    "LatentAttention.__call__": Door(of(x=X, positions=np.arange(6), causal=True), make=latent, optional=("positions",)),
    "LatentAttention.create": Door(lambda: {"rng": drawn(), **CREATED, "base": 100.0, "deviation": 0.02}, after=used(X), optional=("base",)),
    "TensorProductAttention": Door(parts(tensor_product), after=used(X), also=(*USED, "out"), optional=("base",)),
    "TensorProductAttention.__call__": Door(of(x=X, positions=np.arange(6)), make=tensor_product, optional=("positions",)),
    "TensorProductAttention.create": Door(lambda: {"rng": drawn(), **CREATED, "base": 100.0, "deviation": 0.02}, after=used(X), optional=("base",)),
    "LayerNorm": Door(of(weight=np.ones(8, np.float32), bias=np.zeros(8, np.float32), epsilon=1e-5), after=used(X), also=USED, optional=("weight", "bias")),
    "LayerNorm.__call__": Door(of(x=X), make=lambda: layers.LayerNorm.create(8)),
    "LayerNorm.create": Door(of(width=8, epsilon=1e-5)),
    "PatchEmbedding": Door(parts(lambda: layers.PatchEmbedding.create(drawn(), (2, 3), 2, 8)), after=used(IMAGES), also=USED),
    "PatchEmbedding.__call__": Door(of(images=IMAGES), make=lambda: layers.PatchEmbedding.create(drawn(), (2, 3), 2, 8)),
    "PatchEmbedding.create": Door(lambda: {"rng": drawn(), "grid": (2, 3), "patch": 2, "width": 8}, after=used(IMAGES), also=("inputs",)),
    "RMSNorm": Door(of(weight=np.ones(8, np.float32)), after=used(X), also=USED),
    "RMSNorm.__call__": Door(of(x=X), make=lambda: layers.RMSNorm.create(8)),
    "RMSNorm.create": Door(of(width=8)),
    "ResidualBlock": Door(parts(residual), after=used(X), also=USED),
    "ResidualBlock.__call__": Door(of(x=X), make=residual),
    "SelfAttention": Door(parts(self_attention), after=used(X), also=USED, optional=("base",)),
    "SelfAttention.__call__": Door(of(x=X, positions=np.arange(6)[None].repeat(2, axis=0), causal=True), make=self_attention, optional=("positions",)),
    "SelfAttention.create": Door(lambda: {"rng": drawn(), **CREATED, "mechanism": definitions.attention, "base": 100.0, "deviation": 0.02},
                                 after=used(X), optional=("base",)),
    "SelfAttention.create_reader": Door(lambda: {"rng": drawn(), **CREATED, "mechanism": definitions.attention, "base": 100.0},
                                        after=lambda made, layer: layer(X, keys=self_attention().keys_of(X)), optional=("base",)),
    "SelfAttention.keys_of": Door(of(x=X, positions=np.arange(6)[None].repeat(2, axis=0), start=0), make=self_attention, optional=("positions",)),
    "SpatialGate": Door(parts(gate), after=used(X), also=USED),
    "SpatialGate.__call__": Door(of(x=X), make=gate),
    "SpatialGate.create": Door(lambda: {"rng": drawn(), "grid": GRID, "size": 3}, after=used(X)),
    "SwiGLU": Door(parts(lambda: layers.SwiGLU.create(drawn(), 8, 16)), after=used(X), also=USED),
    "SwiGLU.__call__": Door(of(x=X), make=lambda: layers.SwiGLU.create(drawn(), 8, 16)),
    "SwiGLU.create": Door(lambda: {"rng": drawn(), "width": 8, "hidden": 16, "deviation": 0.02}, after=used(X)),
    "SwinBlock": Door(parts(swin), after=used(SWIN), also=USED),
    "SwinBlock.__call__": Door(of(x=SWIN), make=swin, also=("grid",)),
    "SwinBlock.create": Door(lambda: {"rng": drawn(), "width": 8, "heads": 2, "hidden": 16, "grid": (2, 4), "window": 2, "shift": 1,
                                      "deviation": 0.02}, after=used(SWIN)),
    "project": Door(of(x=X, weight=np.ones((8, 4), np.float32))),
    # A dict is what its options are.
    "TrainedAttention": Door(lambda: {name: value for name, value in parts(trained)().items() if name != "options"}, after=used(X), also=(*USED, "frequencies", "cos"), optional=("frequencies", "clip", "gate")),
    "TrainedAttention.__call__": Door(of(x=X, positions=np.arange(6)[None].repeat(2, axis=0)), make=trained, optional=("positions",)),
    "TrainedAttention.parts": Door(of(x=X, start=0, positions=np.arange(6)[None].repeat(2, axis=0)), make=trained, optional=("positions",)),
}
