"""Tests for your own kernels: strategies, budgets, gradients, and a museum of wrong mechanisms that tests should detect.

`from tinyattn.testing.strategies import problems` needs hypothesis; the rest does not.

The map of this folder:

    compare.py                outputs within a budget
    gradient.py               gradients within a budget
    strategies.py             hypothesis strategies
    broken/                wrong on purpose
      twin.py                 a fault, and the laws that must detect it
      masking.py              which query sees which key
      score.py                scores and weights
      heads.py                heads, sequences, sinks
      lse.py                  log-sum-exps
      gradient.py             backward passes
      arrays.py               dtypes and memory layouts
      linear.py               linear attention and its states
      variants.py             attention with one thing changed
      latent.py               latent attention
      recurrent.py            states that decay or are corrected
      contextual.py           spans and counted positions
      dual_chunk.py           chunks
      lowrank.py              projections, landmarks
      features.py             feature maps
      windows.py              windows of a grid
      spatial.py              lines, neighbourhoods, gates and positions of a grid
      sparse.py               patterns, tables of blocks
      local.py                windows with something more
      selected.py             choices
      cache.py                what a cache keeps
      cache_ring.py           which token a ring sees
      cache_stored.py         pages and codes
      cache_rows.py           rows and forgotten tokens
    matrix.py                 which law detects which fault
"""

from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.compare import assert_within_budget
from tinyattn.testing.gradient import assert_gradients_within_budget
from tinyattn.testing.matrix import kills, render

__all__ = ["MUSEUM", "assert_gradients_within_budget", "assert_within_budget", "kills", "render"]
