"""Layers: frozen dataclasses of arrays with a __call__; the same code serves inference and training.

Its files, in reading order:

    linear.py               one matrix
    norm.py                 RMSNorm
    feed_forward.py         SwiGLU
    inputs.py               gates and decays from the tokens, parameters of their own
    attention.py            self- and cross-attention around any mechanism
    latent.py               latent attention with its projections
    spatial_gate.py         a gate on the cells of a grid
    patch.py                patches of an image as tokens
    block.py                a pre-norm block
    swin.py                 a block of shifted windows
"""

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
