"""Layers: frozen dataclasses of arrays with a __call__. Inference and training run the same code.

Its files, in reading order:

    checks.py               what a layer is made of and called with
    fused.py                steps that take a kernel where they are large
    linear.py               one matrix
    affine.py               a matrix with a bias, which may stay in its file
    norm.py                 RMSNorm, LayerNorm
    feed_forward.py         SwiGLU
    inputs.py               gates, decays and other arguments per token
    attention.py            self- and cross-attention around any mechanism
    mixed.py                feed-forward layers and blocks as trained models have them
    trained_attention.py    self-attention as trained models have it
    trained_latent.py       latent attention as trained models have it
    gated_delta_net.py      the gated delta rule with its convolution, as trained models have it
    latent.py               latent attention with its projections
    tensor_product.py       tensor product attention with its projections
    spatial_gate.py         a gate on the cells of a grid
    patch.py                patches of an image as tokens
    block.py                a pre-norm block
    swin.py                 a block of shifted windows
"""

from tinyattn.layers.affine import Affine
from tinyattn.layers.attention import CrossAttention, SelfAttention
from tinyattn.layers.block import Block
from tinyattn.layers.feed_forward import SwiGLU
from tinyattn.layers.latent import LatentAttention
from tinyattn.layers.linear import project
from tinyattn.layers.mixed import FeedForward, ResidualBlock
from tinyattn.layers.norm import LayerNorm, RMSNorm
from tinyattn.layers.patch import PatchEmbedding
from tinyattn.layers.spatial_gate import SpatialGate
from tinyattn.layers.swin import SwinBlock
from tinyattn.layers.tensor_product import TensorProductAttention
from tinyattn.layers.trained_attention import TrainedAttention

__all__ = ["Affine", "Block", "CrossAttention", "FeedForward", "LatentAttention", "LayerNorm", "PatchEmbedding", "RMSNorm",
           "ResidualBlock", "SelfAttention", "SpatialGate", "SwiGLU", "SwinBlock", "TensorProductAttention",
           "TrainedAttention", "project"]
