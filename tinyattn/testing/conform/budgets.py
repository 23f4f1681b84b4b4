"""How far a kernel may be off: its class of arithmetic evaluated honestly on the same problem, never a typed tolerance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn.definitions import attention, streaming_attention
from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import DRAWS, EPS32, FACTOR, FEW, Budget
from tinyattn.laws.precision import ROUNDOFF, honest_run
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.recomputed import recomputed
from tinyattn.ops.types import Array
from tinyattn.testing.conform.dialect import spoken

TINY = float(np.finfo(np.float32).tiny)
Outputs = tuple[Array, ...]
# A long problem costs more per draw and has more numbers, so that fewer draws find its largest error.
LONG, FEWER = 1 << 16, 3


def key_by_key(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns attention summed one key at a time, as a kernel without pairwise sums does."""
    return streaming_attention(q, k, v, block=1, **options)


def sums(allowed_from: Callable[[int], tuple[Outputs, Outputs]], terms: Outputs, truth: Outputs, dtype: str, floor: float) -> Budget:
    """Returns the budget 4 (E + J) + u |out| from draws of (E, J), pooled relative to the sum of absolute terms of each number."""
    largest = [0.0] * len(truth)
    draws = FEWER if sum(x.size for x in truth) > LONG else DRAWS if sum(x.size for x in truth) >= FEW else 3 * DRAWS
    for draw in range(draws):
        for errors in allowed_from(draw):
            for n, (error, size) in enumerate(zip(errors, terms, strict=True)):
                relative = np.where(size > 0, np.where(np.isfinite(error), error, 0.0) / np.where(size > 0, size, 1.0), 0.0)
                largest[n] = max(largest[n], float(relative.max(initial=0.0)))
    shrink, unit = (2.0 ** -29, ROUNDOFF["float64"]) if dtype == "float64" else (1.0, ROUNDOFF[dtype])
    allowed = tuple(FACTOR * shrink * (relative + EPS32) * size + floor * shrink + unit * np.where(np.isfinite(out), np.abs(out), 0.0)
                    for relative, size, out in zip(largest, terms, truth, strict=True))
    return Budget(truth, allowed)


def jittered(p: Problem, rng: np.random.Generator) -> Problem:
    """Returns the problem with every number multiplied by 1 +- the roundoff of float32."""
    return p.map(lambda a: np.asarray(a * (1.0 + EPS32 * rng.choice((-1.0, 1.0), a.shape))))


def of_outputs(p: Problem, dialect: Mapping[str, str], inside: str, dtype: str, rng: np.random.Generator) -> Budget:
    """Returns the true outputs of a problem in a dialect, and the error that a kernel of this class may have.

    E is the largest error of the honest run, and of a run that sums key by key; J is the largest change of the definition
    when the inputs move by a roundoff. Both are pooled over the rows, relative to sum_j p_ij |v_j|.
    """
    exact, honest, keys = (spoken(dialect, core) for core in (attention, honest_run(inside, dtype), key_by_key))
    truth = (np.asarray(p.call(exact)),)
    terms = (np.nan_to_num(np.asarray(p.but(v=np.abs(p.v)).call(exact))),)
    single = p.astype(np.float32)

    def errors(draw: int) -> tuple[Outputs, Outputs]:
        moved = jittered(p, rng)
        near = single if not draw else moved.astype(np.float32)
        target = np.asarray(near.astype(np.float64).call(exact))
        with np.errstate(all="ignore"):
            found = np.abs(np.asarray(near.call(honest), np.float64) - target)
            if not draw:
                found = np.maximum(found, np.abs(np.asarray(near.call(keys), np.float64) - target))
            return (found,), (np.abs(np.asarray(moved.call(exact)) - truth[0]),)

    return sums(errors, terms, truth, dtype, TINY * p.k.shape[-2] * float(np.abs(p.v).max(initial=0.0)))


def of_gradients(p: Problem, d_out: Array, dialect: Mapping[str, str], inside: str, dtype: str, rng: np.random.Generator) -> Budget:
    """Returns the true gradients of sum(d_out * out), and the error that a kernel of this class may have in each.

    E is the largest error of the definition's own gradients in float32, and of a backward that takes the weights again as
    exp(score - lse), as kernels that do not keep them must; pooled relative to the sums of the absolute terms.
    """
    def side(core: Mechanism, problem: Problem, cotangent: Array) -> Outputs:
        given = {name: getattr(problem, name) for name in "qkv"} | {n: x for n, x in problem.options.items() if n == "bias"}
        _, pull = vjp(lambda t: problem.but(**t).call(spoken(dialect, core)), given)
        return tuple(np.asarray(x, np.float64) for x in pull(cotangent.astype(problem.q.dtype)).values())

    truth, single = side(attention, p, d_out), p.astype(np.float32)
    terms = side(recomputed(absolute=True), p, np.abs(d_out))
    again = recomputed(inside_dtype(inside, dtype))

    def errors(draw: int) -> tuple[Outputs, Outputs]:
        moved = jittered(p, rng)
        near = single if not draw else moved.astype(np.float32)
        target = side(attention, near.astype(np.float64), d_out)
        with np.errstate(all="ignore"):
            runs = [side(core, near, d_out) for core in (attention, again)]
            worst = tuple(np.maximum(np.abs(a - t), np.abs(b - t)) for a, b, t in zip(*runs, target, strict=True))
            return worst, tuple(np.abs(x - t) for x, t in zip(side(attention, moved, d_out), truth, strict=True))

    return sums(errors, terms, truth, dtype, TINY * p.k.shape[-2])


def inside_dtype(inside: str, dtype: str) -> str:
    """Returns the dtype to which the weights are rounded in a class."""
    return dtype if inside in ("weights", "all") else "tf32" if inside == "tf32" else "float32"
