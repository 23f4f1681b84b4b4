"""Pooling: one vector for a text from the hidden states of its tokens, as in sentence encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array

MODES: dict[str, Callable[[Array], Array]] = {
    "cls_token": lambda x: x[0], "mean_tokens": lambda x: x.mean(axis=0), "max_tokens": lambda x: x.max(axis=0),
    "mean_sqrt_len_tokens": lambda x: x.sum(axis=0) / np.sqrt(x.dtype.type(len(x)))}
PREFIX = "pooling_mode_"


@dataclass(frozen=True)
class Pooling:
    """hidden states (length, width) of one text -> (width,), of length 1 where `unit_length` is True.

    >>> Pooling("mean_tokens", False)(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([2., 3.])
    """

    mode: str = "mean_tokens"
    unit_length: bool = True

    def __call__(self, hidden: Array) -> Array:
        pooled = MODES[self.mode](hidden)
        return unit(pooled) if self.unit_length else pooled


def pooling_of(config: Mapping[str, Any], unit_length: bool) -> Pooling:
    """Returns the pooling of a config with keys such as pooling_mode_mean_tokens, of which one is true.

    Raises:
        ValueError: no mode, several, or one that is not known.

    >>> pooling_of({"pooling_mode_cls_token": True}, False)
    Pooling(mode='cls_token', unit_length=False)
    """
    modes = [key.removeprefix(PREFIX) for key, value in config.items() if key.startswith(PREFIX) and value is True]
    if len(modes) != 1 or modes[0] not in MODES:
        raise ValueError(f"pooling: expected one mode of {', '.join(MODES)}, got {', '.join(modes) or 'none'}")
    return Pooling(modes[0], unit_length)
