"""Positions: rotary positions and their scalings, sinusoids, ALiBi's slopes, T5's buckets.

Its files, in reading order:

    frequencies.py          rotary frequencies and their scalings
    rotary.py               rotary positions
    absolute.py             sinusoids, ALiBi's slopes, T5's buckets
    chunks.py               the arguments of dual chunk attention, checked
"""

from tinyattn.ops.positions.absolute import alibi_slopes, sinusoidal, t5_buckets
from tinyattn.ops.positions.frequencies import (
    Frequencies,
    dynamic_ntk_frequencies,
    linear_frequencies,
    llama3_frequencies,
    ntk_frequencies,
    plain_frequencies,
    yarn_frequencies,
)
from tinyattn.ops.positions.rotary import rotary, rotary_2d, rotary_by

__all__ = [
    "Frequencies",
    "alibi_slopes",
    "dynamic_ntk_frequencies",
    "linear_frequencies",
    "llama3_frequencies",
    "ntk_frequencies",
    "plain_frequencies",
    "rotary",
    "rotary_2d",
    "rotary_by",
    "sinusoidal",
    "t5_buckets",
    "yarn_frequencies",
]
