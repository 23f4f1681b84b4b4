"""Positions: rotary positions, their scalings and relatives, sinusoids, ALiBi's slopes, T5's buckets.

Its files, in reading order:

    frequencies.py          rotary frequencies and their scalings
    rotary.py               rotary positions
    sections.py             rotary positions of several axes
    xpos.py                 rotary positions that decay with the distance
    absolute.py             sinusoids, ALiBi's slopes, T5's buckets
    chunks.py               the arguments of dual chunk attention, checked
"""

from tinyattn.ops.positions.absolute import alibi_slopes, sinusoidal, t5_buckets
from tinyattn.ops.positions.frequencies import (
    Frequencies,
    dynamic_ntk_frequencies,
    linear_frequencies,
    llama3_frequencies,
    longrope_frequencies,
    ntk_frequencies,
    plain_frequencies,
    yarn_frequencies,
)
from tinyattn.ops.positions.rotary import rotary, rotary_2d, rotary_by
from tinyattn.ops.positions.sections import rotary_sections
from tinyattn.ops.positions.xpos import xpos_keys, xpos_queries

__all__ = [
    "Frequencies",
    "alibi_slopes",
    "dynamic_ntk_frequencies",
    "linear_frequencies",
    "llama3_frequencies",
    "longrope_frequencies",
    "ntk_frequencies",
    "plain_frequencies",
    "rotary",
    "rotary_2d",
    "rotary_by",
    "rotary_sections",
    "sinusoidal",
    "t5_buckets",
    "xpos_keys",
    "xpos_queries",
    "yarn_frequencies",
]
