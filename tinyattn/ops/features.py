"""Feature maps of linear attention: what stands in the place of exp(q . k)."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.types import Array


def elu_plus_one(x: Array) -> Array:
    """Returns x + 1 above 0 and exp(x) below: positive, with value 1 and slope 1 at 0. arXiv:2006.16236.

    >>> elu_plus_one(np.array([-1e4, 0.0, 2.0]))
    array([0., 1., 3.])
    """
    above = x > 0
    with np.errstate(under="ignore"):
        # Both branches are computed: exp only sees what is not above 0.
        return np.where(above, x + 1.0, np.exp(np.where(above, 0.0, x)))


def relu_features(x: Array) -> Array:
    """Returns max(x, 0).

    >>> relu_features(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.where(x > 0, x, 0.0)
