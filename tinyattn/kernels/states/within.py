"""Functions that are written into their caller before it is compiled.

A function that calls others is else compiled by itself and again inside its caller, which was a quarter of a first call's time. For
those that are called in one or two places; what many call, as the products of tiles, is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from tinyattn.kernels.tiles.jit import INNER

within: Callable[..., Any] = numba.njit(**INNER, inline="always")
