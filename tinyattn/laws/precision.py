"""The arithmetic that a kernel may use inside: a few classes, each with an honest run of the definition in it.

A kernel for 16-bit arrays may keep all numbers in between in float32, or round some of them. Which it does decides how
large its errors may be, so that a budget needs the name of the class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.options import blank_unseen, check_scale, check_sinks, visible_keys
from tinyattn.ops.scores import scores_from, weighted_values
from tinyattn.ops.softmax import exponentials, nonzero
from tinyattn.ops.types import Array

CLASSES = {
    "float32": "everything between input and output is float32",
    "weights": "the exponentials are rounded to the storage dtype before their product with the values",
    "all": "scaled queries, scores and weights are rounded to the storage dtype",
    "tf32": "the factors of every product are rounded to 10 bits",
}
# Honest kernels of the class that rounds all differ in where they multiply by the scale, and in whether a score and the
# largest of its row are subtracted before rounding or in the storage dtype: each rounds other numbers.
VARIANTS = ("queries", "both", "scores", "differences")
# Bits of the mantissa that a float32 loses when it is stored, and the unit roundoff of what is left.
LOST = {"bfloat16": 16, "tf32": 13}
ROUNDOFF = {"float64": 2.0 ** -53, "float32": 2.0 ** -24, "float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}


def rounded(x: Array, dtype: str) -> Array:
    """Returns float32 numbers rounded to a narrower dtype, to nearest with ties to even, and stored as float32 again.

    >>> rounded(np.array([1.00390625, 3.0], np.float32), "bfloat16")
    array([1., 3.], dtype=float32)
    """
    x = np.asarray(x, np.float32)
    if dtype == "float32":
        return x
    if dtype == "float16":
        with np.errstate(over="ignore", under="ignore"):
            return x.astype(np.float16).astype(np.float32)
    lost = LOST[dtype]
    bits = x.view(np.uint32)
    half, odd = np.uint32((1 << (lost - 1)) - 1), (bits >> np.uint32(lost)) & np.uint32(1)
    kept = (bits + half + odd) >> np.uint32(lost) << np.uint32(lost)
    return np.where(np.isfinite(x), kept.view(np.float32), x)


def classes_of(dtype: str) -> tuple[str, ...]:
    """Returns the classes that a kernel for this dtype may belong to, the strictest first.

    >>> classes_of("bfloat16"), classes_of("float64")
    (('float32', 'weights', 'all'), ('float32',))
    """
    return {"float64": ("float32",), "float32": ("float32", "tf32")}.get(dtype, ("float32", "weights", "all"))


def rounded_exponentials(scores: Array, sinks: Array | None, dtype: str) -> tuple[Array, Array]:
    """Returns exp(scores - largest) and the total of each row, with each difference rounded to the storage dtype."""
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    logits = None if sinks is None else sinks[:, None, None]
    if logits is not None:
        top = np.maximum(top, logits)
    top = np.where(np.isfinite(top), top, 0.0).astype(scores.dtype)
    exps = np.exp(rounded(scores - top, dtype))
    total = exps.sum(axis=-1, keepdims=True)
    return exps, total if logits is None else total + np.exp(rounded(logits - top, dtype))


def honest_run(inside: str, dtype: str, variant: str = "queries") -> Mechanism:
    """Returns attention as an honest kernel of a class of arithmetic computes it, for inputs stored in `dtype`.

    `variant` says what is multiplied by the scale: the queries, the scores, or by its root both queries and keys; with
    "differences" the queries are, and the difference of each score from the largest of its row is rounded too.

    >>> k = np.eye(2, dtype=np.float32)[None]
    >>> honest_run("all", "bfloat16")(k, k, k)[0, 0]
    array([0.66796875, 0.33007812], dtype=float32)
    """
    if inside not in CLASSES:
        raise ValueError(f"inside: expected one of {', '.join(CLASSES)}, got {inside!r}")

    def factor(x: Array) -> Array:
        return rounded(x, "tf32") if inside == "tf32" else x

    def step(x: Array | float) -> Any:
        return rounded(np.asarray(x), dtype) if inside == "all" else x

    def run(q: Array, k: Array, v: Array, *, mask: Any = None, bias: Any = None, causal: bool = False, window: Any = None,
            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
        visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
        q, k, v = blank_unseen(q, k, v, visible)
        size = check_scale(scale, q.shape[-1])
        root = step(np.sqrt(np.abs(size)))
        by_q, by_k, by_scores = {"queries": (step(size), 1.0, 1.0), "both": (np.copysign(root, size), root, 1.0),
                                 "scores": (1.0, 1.0, step(size)), "differences": (step(size), 1.0, 1.0)}[variant]
        products = step(unfold_group(fold_group(factor(step(q * by_q)), k.shape[-3]) @ factor(step(k * by_k)).mT, q.shape[-3]))
        products = step(products * by_scores)
        scores = step(scores_from(products, softcap, None, bias, visible))
        logits = check_sinks(sinks, q.shape[-3], q.dtype)
        exps, total = rounded_exponentials(scores, logits, dtype) if variant == "differences" else exponentials(scores, logits)[:2]
        if inside == "all":
            return weighted_values(rounded(exps / nonzero(total), dtype), v)
        weights = rounded(exps, dtype) if inside == "weights" else factor(exps)
        return weighted_values(weights, factor(v)) / nonzero(total)

    return run
