"""How far a kernel may be off: its class of arithmetic evaluated honestly on the same problem, never a typed tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinyattn.definitions import attention, attention_with_lse, streaming_attention
from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import DRAWS, EPS32, FACTOR, FEW, Budget
from tinyattn.laws.precision import ROUNDOFF, VARIANTS, honest_run
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.recomputed import recomputed
from tinyattn.ops.types import Array
from tinyattn.testing.conform.dialect import spoken

TINY = float(np.finfo(np.float32).tiny)
# The smallest steps of the storage dtypes: a 16-bit number near 0 errs by half of one, whatever its roundoff is.
STEP = {"float64": 0.0, "float32": 0.0, "float16": 2.0 ** -24, "bfloat16": 2.0 ** -133}
Outputs = tuple[Array, ...]
TF32 = 2.0 ** -11
# A long problem costs more per draw and has more numbers, so that fewer draws find its largest error.
LONG, FEWER = 1 << 16, 3
# A right kernel that does nothing wrong but round its output spends at most 0.8 of its budget.
ROUNDED = 1.25


def key_by_key(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns attention summed one key at a time, as a kernel without pairwise sums does."""
    return streaming_attention(q, k, v, block=1, **options)


def unit_inside(inside: str, dtype: str) -> float:
    """Returns the roundoff of what a class rounds inside.

    Copies that differ by less are all rounded alike, so that a problem of few numbers would show too few roundings.
    """
    return {"weights": ROUNDOFF[dtype], "all": ROUNDOFF[dtype], "tf32": TF32}.get(inside, EPS32)


def draws_for(out: Array) -> int:
    """Returns how many copies of a problem are evaluated to measure its error."""
    return FEWER if out.size > LONG else DRAWS if out.size >= FEW else 3 * DRAWS


def copies(p: Problem, count: int, rng: np.random.Generator, unit: float = EPS32) -> Problem:
    """Returns copies of a problem along its batch, each number of all but the first multiplied by 1 +- unit."""
    batch = p.q.shape[0]

    def moved(x: Array) -> Array:
        factor = 1.0 + unit * rng.choice((-1.0, 1.0), (count * batch, *x.shape[1:]))
        factor[:batch] = 1.0
        return np.asarray(np.concatenate([x] * count) * factor)

    bias = p.options.get("bias")
    changed = {} if bias is None else {"bias": moved(np.broadcast_to(bias, (batch, 1, *bias.shape[-2:])))}
    return p.but(q=moved(p.q), k=moved(p.k), v=moved(p.v), **changed)


def allowed_errors(errors: Sequence[Outputs], terms: Outputs, truth: Outputs, dtype: str, floor: float) -> Budget:
    """Returns the budget 4 (E + J) + 1.25 u |out|, E + J pooled relative to the sum of absolute terms of each number."""
    shrink, unit = (2.0 ** -29, ROUNDOFF["float64"]) if dtype == "float64" else (1.0, ROUNDOFF[dtype])
    allowed = []
    for n, (size, out) in enumerate(zip(terms, truth, strict=True)):
        safe = np.where(size > 0, size, 1.0)
        relative = sum(float(np.where((size > 0) & np.isfinite(some[n]), some[n] / safe, 0.0).max(initial=0.0)) for some in errors)
        allowed.append(shrink * (FACTOR * (relative + EPS32) * size + floor)
                       + ROUNDED * unit * np.where(np.isfinite(out), np.abs(out), 0.0))
    return Budget(truth, tuple(allowed))


def of_outputs(p: Problem, dialect: Mapping[str, str], inside: str, dtype: str, rng: np.random.Generator) -> Budget:
    """Returns the true outputs of a problem in a dialect, and the error that a kernel of this class may have.

    E is the largest error of the honest runs of the class, whatever may differ between them, and of a run that sums key by key;
    J is the largest change of the definition when the inputs move by a roundoff. Both are pooled over the rows, relative to
    sum_j p_ij |v_j|.
    """
    exact, keys = spoken(dialect, attention), spoken(dialect, key_by_key)
    honest = [spoken(dialect, honest_run(inside, dtype, variant)) for variant in (VARIANTS if inside == "all" else VARIANTS[:1])]
    truth = np.asarray(p.call(exact))
    terms = np.nan_to_num(np.asarray(p.but(v=np.abs(p.v)).call(exact)))
    count = draws_for(truth)
    many, first = copies(p, count, rng), p.astype(np.float32)
    single = copies(p, count, rng, unit_inside(inside, dtype) if truth.size < FEW else EPS32).astype(np.float32)
    with np.errstate(all="ignore"):
        target = np.asarray(single.astype(np.float64).call(exact))
        rounding = np.max([np.abs(np.asarray(single.call(run), np.float64) - target) for run in honest], axis=0)
        one_by_one = np.abs(np.asarray(first.call(keys), np.float64) - np.asarray(first.astype(np.float64).call(exact)))
        rounding = np.maximum(rounding.reshape(count, *truth.shape), one_by_one)
        change = np.abs(np.asarray(many.call(exact)).reshape(count, *truth.shape) - truth)
    largest = float(np.abs(p.v).max(initial=0.0)) * p.k.shape[-2]
    floor = TINY * largest + STEP[dtype] * (largest if inside in ("weights", "all") else 1.0)
    return allowed_errors(((rounding,), (change,)), (terms,), (truth,), dtype, floor)


def with_lse(budget: Budget, p: Problem, dialect: Mapping[str, str], inside: str, dtype: str, rng: np.random.Generator) -> Budget:
    """Returns a budget of outputs with that of the log-sum-exp, whose scores may be rounded as the class allows."""
    exact = spoken(dialect, attention_with_lse)
    truth = np.asarray(p.call(exact)[1])
    unit = EPS32 if inside == "weights" else unit_inside(inside, dtype)
    moved = p.map(lambda x: x * (1.0 + unit * rng.choice((-1.0, 1.0), x.shape)))
    single = p.astype(np.float32)
    with np.errstate(all="ignore"):
        errors = (np.abs(np.asarray(moved.call(exact)[1]) - truth),
                  np.abs(np.asarray(single.call(exact)[1], np.float64) - np.asarray(single.astype(np.float64).call(exact)[1])))
        scores = np.abs(np.asarray(p.but(k=np.abs(p.k), q=np.abs(p.q), mask=None, causal=False, window=None).call(exact)[1]))
    finite = float(np.where(np.isfinite(scores), scores, 0.0).max(initial=1.0))
    most = sum(float(np.where(np.isfinite(error), error, 0.0).max(initial=0.0)) for error in errors)
    shrink, step = (2.0 ** -29, ROUNDOFF["float64"]) if dtype == "float64" else (1.0, ROUNDOFF[dtype])
    size = np.where(np.isfinite(truth), np.abs(truth), 0.0)
    allowed = shrink * FACTOR * (most + unit * finite) + ROUNDED * step * size
    return Budget((*budget.truth, truth), (*budget.allowed, allowed))


def of_gradients(p: Problem, d_out: Array, dialect: Mapping[str, str], inside: str, dtype: str, rng: np.random.Generator) -> Budget:
    """Returns the true gradients of sum(d_out * out), and the error that a kernel of this class may have in each.

    E is the largest error of the definition's own gradients in float32, of a backward that computes the weights again as
    exp(score - lse), as kernels do that do not store them, and in the class that rounds all of one that rounds every number
    in between; pooled relative to the sums of the absolute terms. In 16 bits no error is allowed for a backward that goes
    through the subtraction of the largest score: it would hide too much.
    """
    def side(core: Mechanism, problem: Problem, size: bool = False) -> Outputs:
        count = problem.q.shape[0] // p.q.shape[0]
        cotangent = np.concatenate([np.abs(d_out) if size else d_out] * count).astype(problem.q.dtype)
        given = {name: getattr(problem, name) for name in "qkv"} | {n: x for n, x in problem.options.items() if n == "bias"}
        _, pull = vjp(lambda t: problem.but(**t).call(spoken(dialect, core)), given)
        found = {name: np.asarray(x, np.float64) for name, x in pull(cotangent).items()}
        split = {name: x.reshape(count, -1, *x.shape[1:]) for name, x in found.items() if x.ndim == 4}
        return tuple(split[name].sum(axis=(1, 2)) if name == "bias" and name in split else split.get(name, x)
                     for name, x in found.items())

    def alone(core: Mechanism, size: bool = False) -> Outputs:
        return tuple(x if name == "bias" else x[0] for name, x in zip(("q", "k", "v", "bias"), side(core, p, size), strict=False))

    truth, terms = alone(attention), alone(recomputed(absolute=True, through_largest=dtype in ("float32", "float64")), True)
    count = max(2, draws_for(truth[0]) // 2)
    unit = unit_inside(inside, dtype) if truth[0].size < FEW else EPS32
    many, single = copies(p, count, rng), copies(p, count, rng, unit).astype(np.float32)
    with np.errstate(all="ignore"):
        target = side(attention, single.astype(np.float64))
        storage, stored = inside_dtype(inside, dtype), dtype if dtype in ("float16", "bfloat16") else "float32"
        every = ("float32", dtype) if inside == "all" else ("float32",)
        honest = [attention, *(recomputed(storage, stored=stored, every=each) for each in every)]
        runs = [side(core, single) for core in honest]
        rounding = tuple(np.max([np.abs(x - t) for x in some], axis=0) for *some, t in zip(*runs, target, strict=True))
        change = tuple(np.abs(x - t) for x, t in zip(side(attention, many), truth, strict=True))
    largest = max(1.0, *(float(np.abs(x).max(initial=0.0)) for x in (p.q, p.k, p.v, d_out))) * max(p.full()[-2:])
    return allowed_errors((rounding, change), terms, truth, dtype, (TINY + STEP[dtype]) * largest)


def inside_dtype(inside: str, dtype: str) -> str:
    """Returns the dtype to which the weights are rounded in a class."""
    return dtype if inside in ("weights", "all") else "tf32" if inside == "tf32" else "float32"
