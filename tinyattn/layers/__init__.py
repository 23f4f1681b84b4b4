"""Layers: frozen dataclasses of arrays with a __call__; the same code serves inference and training."""

from tinyattn.layers.attention import CrossAttention, SelfAttention
from tinyattn.layers.block import Block
from tinyattn.layers.feed_forward import SwiGLU
from tinyattn.layers.latent import LatentAttention
from tinyattn.layers.linear import project
from tinyattn.layers.norm import RMSNorm
from tinyattn.layers.patch import PatchEmbedding
from tinyattn.layers.spatial_gate import SpatialGate
from tinyattn.layers.swin import SwinBlock

__all__ = ["Block", "CrossAttention", "LatentAttention", "PatchEmbedding", "RMSNorm", "SelfAttention", "SpatialGate", "SwiGLU",
           "SwinBlock", "project"]
