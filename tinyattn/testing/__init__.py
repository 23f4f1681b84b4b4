"""How we know, for others' kernels too: strategies, budgets, gradients, and a museum of wrong attentions.

`from tinyattn.testing.strategies import problems` needs hypothesis; the rest does not.

The map of this folder:

    compare.py                outputs within a budget
    gradient.py               gradients within a budget
    strategies.py             what hypothesis draws
    broken/                wrong on purpose
      twin.py                 a fault, and the laws that must kill it
      masking.py              who sees whom
      score.py                scores and weights
      heads.py                heads, sequences, sinks
      lse.py                  log-sum-exps
      gradient.py             backward passes
      arrays.py               dtypes and layouts
      linear.py               states
      variants.py             one thing changed, wrongly
      latent.py               what is absorbed
      recurrent.py            states that fade or are corrected
      contextual.py           spans, counts
      dual_chunk.py           chunks
      lowrank.py              projections, landmarks
      features.py             features
      spatial.py              grids
      sparse.py               patterns, windows, groups
      selected.py             choices
      cache.py                caches: what is kept
      cache_ring.py           rings: who is seen
      cache_stored.py         pages and codes
      cache_rows.py           whose tokens, and which are forgotten
    matrix.py                 who kills whom
"""

from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.compare import assert_within_budget
from tinyattn.testing.gradient import assert_gradients_within_budget
from tinyattn.testing.matrix import kills, render

__all__ = ["MUSEUM", "assert_gradients_within_budget", "assert_within_budget", "kills", "render"]
