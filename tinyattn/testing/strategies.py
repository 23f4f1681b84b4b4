"""Hypothesis strategies that draw sizes, options and a seed, so that a failure shrinks to a few tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tinyattn.laws.draw import ALL, option
from tinyattn.laws.problem import REGIMES, Problem, Sizes, arrays

LEADING = ((), (1,), (2,), (2, 2))


def lengths(edges: Sequence[int] = (), *, least: int = 0, most: int = 9) -> st.SearchStrategy[int]:
    """Returns lengths from `least` to `most`, and the numbers on both sides of each block edge."""
    near = sorted({max(edge + step, least) for edge in edges for step in (-1, 0, 1)})
    small = st.integers(least, most)
    return small | st.sampled_from(near) if near else small


@st.composite
def sizes(draw: st.DrawFn, *, edges: Sequence[int] = (), dtypes: Sequence[str] = ("float64", "float32")) -> Sizes:
    """Returns drawn sizes: lengths from 0 and 1 up and around `edges`, several heads per kv head, every regime of values."""
    return Sizes(leading=draw(st.sampled_from(LEADING)), kv_heads=draw(st.integers(1, 3)), groups=draw(st.integers(1, 4)),
                 q_len=draw(lengths(edges)), kv_len=draw(lengths(edges, least=1)), head_dim=draw(lengths((), least=1)),
                 value_dim=draw(lengths((), least=1)), regime=draw(st.sampled_from(REGIMES)),
                 dtype=draw(st.sampled_from(list(dtypes))))


@st.composite
def problems(draw: st.DrawFn, *, options: Sequence[str] = ALL, edges: Sequence[int] = (),
             dtypes: Sequence[str] = ("float64", "float32")) -> Problem:
    """Returns drawn problems of softmax attention with any of these options."""
    size = draw(sizes(edges=edges, dtypes=dtypes))
    chosen = draw(st.lists(st.sampled_from(list(options)), unique=True)) if options else []
    rng = np.random.default_rng(draw(st.integers(0, 2 ** 32)))
    full = (*size.leading, size.heads, size.q_len, size.kv_len)
    return arrays(rng, size, **{name: option(name, rng, size, full) for name in chosen})
