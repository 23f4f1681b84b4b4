"""Laws of arrays: dtypes stay, layouts do not matter, inputs are never written."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def dtypes(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The item size of the output for each dtype."""
    sizes = [outputs(p.astype(kind).call(f))[0].dtype.itemsize for kind in (np.float64, np.float32, np.float16)]
    return (np.array(sizes, p.q.dtype),)


def strange(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Big-endian, reversed twice, read-only inputs."""
    def odd(a: Array) -> Array:
        turned = np.flip(np.flip(a, -1).copy(), -1) if a.ndim else a
        other: Array = turned if a.ndim < 2 else np.repeat(turned, 2, axis=-2)[..., ::2, :]
        other.flags.writeable = False
        return other

    return outputs(p.map(odd).call(f))


def swapped(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Inputs in the other byte order."""
    return outputs(p.map(lambda a: a.astype(a.dtype.newbyteorder())).call(f))


def left_over(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The inputs after the call."""
    copy = p.map(np.array)
    copy.call(f)
    return copy.q, copy.k, copy.v


def laws(draw: Draw) -> tuple[Law, ...]:
    """Returns the laws on problems drawn so."""
    def tame(rng: np.random.Generator, sizes: Sizes) -> Problem:
        return draw(rng, sizes)

    return (
        Law("a_dtype_stays", "float64 gives float64, float32 gives float32, float16 gives float16.", tame, dtypes,
            lambda f, p: (np.array([8, 4, 2], p.q.dtype),), exact=True),
        Law("layout_is_invisible", "Strided, reversed and read-only inputs give what their plain copies give.", tame, plain,
            strange),
        Law("byte_order_is_invisible", "Inputs of the other byte order give what native ones give.", tame, plain, swapped),
        Law("inputs_are_not_written", "The inputs are after the call what they were before.", tame,
            lambda f, p: (p.q, p.k, p.v), left_over, exact=True),
    )
