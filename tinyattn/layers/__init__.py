"""Layers: frozen dataclasses of arrays with a __call__; the same code serves inference and training."""

from tinyattn.layers.attention import CrossAttention, SelfAttention
from tinyattn.layers.block import Block
from tinyattn.layers.feed_forward import SwiGLU
from tinyattn.layers.linear import project
from tinyattn.layers.norm import RMSNorm

__all__ = ["Block", "CrossAttention", "RMSNorm", "SelfAttention", "SwiGLU", "project"]
