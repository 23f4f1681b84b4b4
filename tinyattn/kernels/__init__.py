"""The same functions, fast: compiled with Numba, each with a backward of its own. Importing this imports Numba."""

from tinyattn.kernels.attention import attention, attention_with_lse
from tinyattn.kernels.stored import paged_attention, quantized_attention
from tinyattn.kernels.threads import threads

__all__ = ["attention", "attention_with_lse", "paged_attention", "quantized_attention", "threads"]
