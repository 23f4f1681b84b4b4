"""AdamW, its learning rate over time, and the clipping of gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.engine.tree import differentiable, leaves, map_tree
from tinyattn.layers.fused import LEAST as LEAST_SIZE
from tinyattn.layers.fused import step
from tinyattn.models.given import check_tree
from tinyattn.ops.checks import real, whole
from tinyattn.ops.storage import to_single, widened
from tinyattn.ops.types import Array

# A sum of squares between these has neither overflowed nor lost digits in float32.
FEWEST, MOST = 1e-30, 1e37
# The square of a number below this fits in float32.
LARGE = 1e18
# The least epsilon: a parameter whose gradients were all 0 moves by 0 / epsilon, and float32 rounds a smaller epsilon to 0.
LEAST = 1e-30


@dataclass(frozen=True, eq=False)
class AdamW:
    """The state of AdamW: running means of the gradients, roots of the running means of their squares, the number of steps.

    Both are trees like the parameters, float32 where those are float16 or bfloat16. Roots are kept because the square of a
    gradient of 1e20 does not fit in float32.

    >>> AdamW.create({"w": np.ones(2)})
    AdamW(first={'w': array([0., 0.])}, second={'w': array([0., 0.])}, steps=0)
    """

    first: Any
    second: Any
    steps: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole("steps", self.steps, 0))

    @classmethod
    def create(cls, params: Any) -> AdamW:
        """Returns the state before any step; TypeError for parameters without any floating array."""
        check_tree("params", params)

        def zeros(leaf: Any) -> Any:
            return np.zeros_like(to_single(leaf)) if differentiable(leaf) else leaf
        return cls(map_tree(zeros, params), map_tree(zeros, params))


def update(params: Any, gradients: Any, state: AdamW, *, rate: float, decay: float = 0.1, beta1: float = 0.9,
           beta2: float = 0.95, epsilon: float = 1e-8, limit: float | None = None) -> tuple[Any, AdamW]:
    """Returns (parameters, state) after one step of Adam with decoupled weight decay. arXiv:1711.05101.

    m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, p' = p - rate (m^ / (sqrt(v^) + epsilon) + decay p),
    m^ and v^ are m and v corrected for their start at 0. Vectors, such as the weights of norms, do not decay. With a `limit`
    the gradients are clipped to that norm first, as `clip` does; if the tree is large and all float32, each array is read only
    once for both.

    Raises:
        TypeError, ValueError: gradients or a state whose trees or shapes are not the parameters', numbers out of range.

    >>> p, state = update(np.ones(1), np.ones(1), AdamW.create(np.ones(1)), rate=0.1)
    >>> float(p[0]) < 0.91
    True
    """
    if not isinstance(state, AdamW):
        raise TypeError(f"state: expected an AdamW, got {type(state).__name__}")
    rate, decay = real("rate", rate, least=0.0), real("decay", decay, least=0.0)
    beta1, beta2, epsilon = check_beta("beta1", beta1), check_beta("beta2", beta2), real("epsilon", epsilon, least=LEAST)
    named = check_tree("params", params)
    for name, tree in (("gradients", gradients), ("state.first", state.first), ("state.second", state.second)):
        check_like(name, tree, params, named)
    if limit is not None:
        limit = real("limit", limit, above=0.0)
    compiled = moved_by_kernel(params, gradients, state, limit, rate=rate, decay=decay, beta1=beta1, beta2=beta2, epsilon=epsilon)
    if compiled is not None:
        return compiled
    if limit is not None:
        gradients, _ = clip(gradients, limit)
    steps = state.steps + 1
    unbias1, unbias2 = 1.0 - beta1 ** steps, 1.0 - beta2 ** steps
    kept, gained = beta2 ** 0.5, (1.0 - beta2) ** 0.5

    def mean(m: Any, g: Any) -> Any:
        return beta1 * m + (1.0 - beta1) * to_single(g) if differentiable(m) else m

    def root(r: Any, g: Any) -> Any:
        return hypotenuse(kept * r, gained * to_single(g), epsilon) if differentiable(r) else r

    @widened
    def move(p: Any, m: Any, r: Any) -> Any:
        if not differentiable(p):
            return p
        faded = p * (1.0 - rate * decay) if p.ndim > 1 else p
        return faded - (rate / unbias1) * m / (r * (1.0 / unbias2) ** 0.5 + epsilon)

    with np.errstate(under="ignore"):
        first, second = map_tree(mean, state.first, gradients), map_tree(root, state.second, gradients)
        return map_tree(move, params, first, second), AdamW(first, second, steps)


def moved_by_kernel(params: Any, gradients: Any, state: AdamW, limit: float | None, **numbers: float) -> tuple[Any, AdamW] | None:
    """Returns what `update` returns, by one pass over each array; None unless there are many numbers, all float32, and a kernel."""
    rows = [(p, m, r, g, p.ndim > 1) for p, m, r, g in zip(*map(leaves, (params, state.first, state.second, gradients)), strict=True)
            if differentiable(p)]
    single = all(type(x) is np.ndarray and x.dtype == np.float32 for row in rows for x in row[:4])
    if not single or sum(p.size for p, *_ in rows) < LEAST_SIZE:
        return None
    norm_of, moved = step("optimise", "norm_of"), step("optimise", "moved")
    if moved is None:
        return None
    norm = 0.0 if limit is None else norm_of([g for _, _, _, g, _ in rows])
    shrink = limit / norm if limit is not None and limit < norm < math.inf else 1.0
    made = moved(rows, shrink, steps=state.steps + 1, **numbers)
    trees = []
    for part, tree in enumerate((params, state.first, state.second)):
        left = iter(made)
        trees.append(map_tree(lambda leaf, part=part, left=left: next(left)[part] if differentiable(leaf) else leaf, tree))
    return trees[0], AdamW(trees[1], trees[2], state.steps + 1)


def hypotenuse(a: Array, b: Array, epsilon: float) -> Array:
    """Returns sqrt(a^2 + b^2) of positive a, and overwrites both arrays; squares that underflow matter less than epsilon.

    np.hypot takes four times as long, and is needed only where a square overflows.
    """
    largest = max(float(np.max(a, initial=0.0)), float(np.max(b, initial=0.0)), -float(np.min(b, initial=0.0)))
    if not (largest < LARGE and epsilon > 1e-15 and a.dtype == b.dtype):
        return np.hypot(a, b)
    a *= a
    b *= b
    a += b
    return np.sqrt(a)


def check_beta(name: str, beta: Any) -> float:
    """Returns the decay rate of a running mean, at least 0 and below 1."""
    number = real(name, beta, least=0.0)
    if number >= 1.0:
        raise ValueError(f"{name}: expected a number below 1, got {number}")
    return number


def check_like(name: str, tree: Any, params: Any, named: dict[str, Any]) -> None:
    """Raises TypeError for a tree without arrays, ValueError unless its arrays have the names and shapes of the parameters."""
    found = check_tree(name, tree)
    given, wanted = ({place: leaf for place, leaf in each.items() if differentiable(leaf)} for each in (found, named))
    if len(given) != len(wanted):
        raise ValueError(f"{name}: expected {len(wanted)} arrays, one for each of the parameters, got {len(given)}")
    if isinstance(tree, dict) != isinstance(params, dict):
        raise ValueError(f"{name}: expected a {type(params).__name__}, as the parameters are, got a {type(tree).__name__}")
    for place, want in wanted.items():
        if place not in given:
            raise ValueError(f"{name}: expected an array at {place!r}, as the parameters have, got them at {', '.join(given)}")
        if np.shape(given[place]) != np.shape(want):
            raise ValueError(f"{name}: expected shape {np.shape(want)} at {place!r}, as the parameter has, "
                             f"got {np.shape(given[place])}")
    if missing := named.keys() - found.keys():
        raise ValueError(f"{name}: expected every leaf of the parameters, arrays or not; missing: {', '.join(sorted(missing))}")


def clip(gradients: Any, limit: float) -> tuple[Any, float]:
    """Returns the gradients, shrunk together where their norm is above the limit, and the norm they had.

    Gradients whose squares overflow or underflow their dtype are measured and shrunk as well.

    Raises:
        TypeError: gradients without any floating array. TypeError, ValueError: a limit that is not a number above 0.

    >>> clip({"w": np.array([3.0, 4.0])}, 1.0)
    ({'w': array([0.6, 0.8])}, 5.0)
    """
    check_tree("gradients", gradients)
    limit = real("limit", limit, above=0.0)
    arrays: list[Array] = [to_single(leaf) for leaf in leaves(gradients) if differentiable(leaf)]
    with np.errstate(over="ignore", under="ignore"):
        square = sum(float(np.vdot(array, array)) for array in arrays)
        size, norm = 1.0, math.sqrt(square)
        if not FEWEST < square < MOST:
            size = max((float(np.max(np.abs(array), initial=0.0)) for array in arrays), default=0.0)
            if not 0.0 < size < math.inf:
                return gradients, size
            norm = math.sqrt(sum(float(np.sum(np.square(array.astype(np.float64) / size))) for array in arrays))
        if not norm > limit / size:
            return gradients, norm * size

        @widened
        def shrunk(g: Any) -> Any:
            return g / size * (limit / norm) if size != 1.0 else g * (limit / norm)

        return map_tree(lambda g: shrunk(g) if differentiable(g) else g, gradients), norm * size


def schedule(step: int, *, steps: int, peak: float, warmup: int, floor: float = 0.1) -> float:
    """Returns the learning rate of a step: it rises linearly for `warmup` steps, then falls by a cosine to floor * peak and stays.

    >>> [round(schedule(s, steps=10, peak=1.0, warmup=2), 3) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.134]
    """
    step, steps, warmup = whole("step", step, 0), whole("steps", steps, 0), whole("warmup", warmup, 0)
    peak, floor = real("peak", peak, least=0.0), real("floor", floor, least=0.0)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done)))
