"""Queries, keys or values as sums of outer products of two factors, one over the heads and one over the channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

from tinyattn.ops.signature import by_name, check_dtypes, floating, refuse_unknown
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

F = TypeVar("F", bound=Callable[..., Any])
Factors = tuple[Array, Array]
PARTS = ("heads", "channels")


def check_factors(name: str, factors: Any) -> Factors:
    """Returns the pair (..., length, rank, heads), (..., length, rank, d) of floating arrays.

    Raises:
        TypeError: no pair of floating arrays. ValueError: arrays whose axes before the last do not agree.
    """
    if not isinstance(factors, tuple) or len(factors) != 2:
        given = f"a tuple of {len(factors)}" if isinstance(factors, tuple) else type(factors).__name__
        raise TypeError(f"{name}: expected the pair of a head factor and a channel factor, got {given}")
    heads, channels = (floating(f"{name} ({part})", factor) for part, factor in zip(PARTS, factors, strict=True))
    if heads.ndim < 3 or heads.shape[:-1] != channels.shape[:-1]:
        raise ValueError(f"{name}: expected (..., length, rank, heads) and (..., length, rank, channels), "
                         f"got shapes {heads.shape} and {channels.shape}")
    return heads, channels


def summed(factors: Factors) -> Array:
    """Returns the sum over the rank of the outer products of a pair: (..., heads, length, d).

    >>> heads, channels = np.array([[[1.0, 2.0]]]), np.array([[[3.0, 5.0]]])  # one token, rank 1
    >>> summed((heads, channels))[:, 0]
    array([[ 3.,  5.],
           [ 6., 10.]])
    """
    heads, channels = factors
    products: Array = np.swapaxes(heads.mT @ channels, -2, -3)
    return products


def factored(signature: str) -> Callable[[F], F]:
    """Declares a mechanism whose three arrays are given as pairs of factors, and checks the pairs of every call.

    It does what `shapes` does for arrays: `signature` names the axes of the products, which the mechanism makes itself.

    Raises:
        TypeError, ValueError: as `check_factors`; factors of different dtypes; an option that the mechanism does not have.
    """
    def declare(mechanism: F) -> F:
        names, known = mechanism.__code__.co_varnames[:3], by_name(mechanism).keys()
        wide = widened(mechanism)

        @wraps(mechanism)
        def checked(*pairs: Any, **options: Any) -> Any:
            if len(pairs) > len(names):
                raise TypeError(f"{mechanism.__name__}: everything after {', '.join(names)} is given by name")
            missing = [name for name in names[len(pairs):] if name not in options]
            if missing:
                raise TypeError(f"{', '.join(missing)}: missing; {mechanism.__name__} takes three pairs of factors")
            given = (*pairs, *(options.pop(name) for name in names[len(pairs):]))
            if not options.keys() <= known:
                refuse_unknown(mechanism.__name__, options, known, names)
            factors = [check_factors(name, pair) for name, pair in zip(names, given, strict=True)]
            check_dtypes([f"{name} ({part})" for name in names for part in PARTS], [x for pair in factors for x in pair])
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                return wide(*factors, **options)

        checked.signature, checked.per_token = signature, {}  # type: ignore[attr-defined]
        return cast(F, checked)

    return declare
