"""Tests for your own kernels: strategies, budgets, gradients, and a museum of wrong mechanisms that tests should detect.

`from tinyattn.testing.strategies import problems` needs hypothesis; the rest does not.

Its files, in reading order:

    compare.py              outputs within a budget
    gradient.py             gradients within a budget
    strategies.py           hypothesis strategies
    broken/                 wrong on purpose
    conform/                kernels of other libraries judged
    matrix.py               which law detects which fault
"""

from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.compare import assert_within_budget
from tinyattn.testing.conform.judge import conform
from tinyattn.testing.conform.suite import conformance
from tinyattn.testing.gradient import assert_gradients_within_budget
from tinyattn.testing.matrix import kills, render

__all__ = ["MUSEUM", "assert_gradients_within_budget", "assert_within_budget", "conform", "conformance", "kills", "render"]
