"""Bad inputs: made from the argument that is wrong, and those that many mechanisms refuse."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.catalog.row import BadInput


def value(name: str, given: Any, *words: str) -> BadInput:
    """Returns a number or a name that is out of range; the error must show it.

    >>> value("chunk", 0).words
    ('chunk', '0')
    """
    return BadInput({name: given}, ValueError, (name, str(given), *words))


def shape(name: str, *sizes: int) -> BadInput:
    """Returns an array of ones of the wrong shape; the error must show the shape.

    >>> shape("beta", 1, 1).words
    ('beta', '(1, 1)')
    """
    return BadInput({name: np.ones(sizes)}, ValueError, (name, str(sizes)))


def kind(name: str, given: Any) -> BadInput:
    """Returns something of the wrong type or dtype; the error must show which.

    >>> kind("keep", 2.0).words
    ('keep', 'float')
    """
    return BadInput({name: given}, TypeError, (name, str(given.dtype) if isinstance(given, np.ndarray) else type(given).__name__))


MASK = kind("mask", np.ones((3, 3), np.int64))
WINDOW = BadInput({"window": (-1, 0)}, ValueError, ("window", "left", "-1"))
SCALE, SOFTCAP = value("scale", float("nan")), value("softcap", 0.0)
WITHOUT_SINKS = (MASK, WINDOW, SCALE, SOFTCAP)
SOFTMAX = (*WITHOUT_SINKS, shape("sinks", 99))
STATE = BadInput({"initial_state": np.ones(1), "normalize": True}, TypeError, ("initial_state", "pair"))
GROWING_DECAY = BadInput({"log_decay": np.array(1.0)}, ValueError, ("log_decay",))
BETA, GRID, BLOCK = shape("beta", 1, 1), value("grid", (97,)), value("block", 0)
CAUSAL = BadInput({"causal": True}, TypeError, ("causal",))
FEWER_KEYS = BadInput({"k": np.ones((1, 2, 3, 4)), "v": np.ones((1, 2, 3, 3))}, ValueError, ("q_len <= kv_len", "(1, 2, 3, 4)"))
