"""One row a mechanism: what it is, where it is from, what it costs, what must hold of it."""

from tinyattn.catalog.find import ROWS, find
from tinyattn.catalog.row import BadInput, Paper, Row

__all__ = ["ROWS", "BadInput", "Paper", "Row", "find"]
