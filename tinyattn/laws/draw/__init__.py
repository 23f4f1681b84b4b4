"""How problems are drawn, family by family: sizes from 0 and 1 upward, options combined, numbers that can tell right from wrong."""

from tinyattn.laws.draw.sizes import at_least, both, draw_sizes, square
from tinyattn.laws.draw.softmax import ALL, option, softmax, without

__all__ = ["ALL", "at_least", "both", "draw_sizes", "option", "softmax", "square", "without"]
