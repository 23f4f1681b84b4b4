"""When the state of a cache may be written over: by a mechanism that does so soundly, and where nobody else has it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.folded import Folded
from tinyattn.ops.types import Array

# The mechanisms whose kernels write the next state over a donated one.
NAMES = frozenset({"based", "cosformer", "delta_rule", "gated_delta_rule", "gated_linear_attention", "lightning_attention",
                   "linear_attention", "performer", "retention", "simple_gated_linear_attention"})


def writes_over(mechanism: Callable[..., Any]) -> bool:
    """Returns whether a mechanism may write over a state that is donated to it, and does so in one call that nothing interrupts.

    These are functions of this package, also with options bound. A function of the caller's own might keep the state.

    >>> writes_over(fastest.retention), writes_over(lambda q, k, v, **options: fastest.retention(q, k, v, **options))
    (True, False)
    """
    found = getattr(mechanism, "func", mechanism)
    name = getattr(found, "__name__", "")
    return name in NAMES and any(getattr(place, name, None) is found for place in (fastest, sys.modules.get("tinyattn.kernels")))


def alone(state: Iterable[Array], others: Iterable[Array]) -> bool:
    """Returns whether the arrays of a state are plain and share no memory with others.

    >>> x = np.ones(4)
    >>> alone((x[:2],), (x[2:],)), alone((x[:3],), (x[2:],))
    (True, False)
    """
    others = tuple(others)
    return all(type(array) is np.ndarray and not any(np.may_share_memory(array, other) for other in others) for array in state)


def prepared(held: Folded, mechanism: Callable[..., Any], q: Array, k: Array, v: Array, options: Mapping[str, Any]) -> Folded:
    """Returns the value after a token that a kernel wrote over its state, with what folds in tokens like it, if anything does."""
    from tinyattn.kernels.states.token import token_like
    name, bound = getattr(mechanism, "func", mechanism).__name__, getattr(mechanism, "keywords", {})
    found = token_like(name, bound, q, k, v, options, held.state or ())
    return held if found is None else held._replace(token=found[0], state=found[1])
