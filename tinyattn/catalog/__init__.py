"""One row per mechanism: what it is, where it is from, what it costs, what must hold of it."""

from tinyattn.catalog.find import MIXERS, ROWS, find, find_mixer, load_model
from tinyattn.catalog.row import BadInput, Paper, Row

__all__ = ["MIXERS", "ROWS", "BadInput", "Paper", "Row", "find", "find_mixer", "load_model"]
