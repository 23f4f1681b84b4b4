"""How we know, for others' kernels too: strategies, budgets, gradients, and a museum of wrong attentions.

`from tinyattn.testing.strategies import problems` needs hypothesis; the rest does not.

Its files, in reading order:

    compare.py              outputs within a budget
    gradient.py             gradients within a budget
    strategies.py           what hypothesis draws
    broken/                 wrong on purpose
    matrix.py               who kills whom
"""

from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.compare import assert_within_budget
from tinyattn.testing.gradient import assert_gradients_within_budget
from tinyattn.testing.matrix import kills, render

__all__ = ["MUSEUM", "assert_gradients_within_budget", "assert_within_budget", "kills", "render"]
