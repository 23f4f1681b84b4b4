"""How large the terms are of which a gradient is the sum: where they cancel, it is as exact as they are."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.budget import Outputs
from tinyattn.laws.draw.softmax import ALL
from tinyattn.laws.gradient import floating, gradients
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.ops.types import Array

# Gates by which a state fades between two tokens.
FADING = frozenset(("log_decay", "forget_gate"))


def terms_of_gradients(f: Mechanism, p: Problem, found: Outputs) -> Outputs:
    """Returns for each of the gradients `found` of a problem how large its terms are beyond itself, 0 where none cancel.

    The gradient of a decay may be the difference of what queries after a token read and of what tokens after it wrote, that of an
    input gate the product k . d_k, and that of a capped score, here of the options of attention alone, is multiplied by 1 minus a
    square: little of them may be left.
    """
    names = floating(p)
    terms = dict(zip(names, (np.zeros_like(x) for x in found), strict=True))
    for gate in FADING.intersection(terms):
        terms[gate] = terms[gate] + most_flow(names, found)
    if "input_gate" in terms:
        terms["input_gate"] = np.abs(names["k"] * found[1]).sum(axis=-1)
    if p.options.get("softcap") is not None and set(p.options) <= set(ALL):
        terms["q"], terms["k"] = uncapped(f, p)
    return tuple(terms.values())


def most_flow(names: dict[str, Array], found: Outputs) -> float:
    """Returns the largest sum, over the tokens of any kv head, of the absolute terms of q . d_q, k . d_k and v . d_v."""
    sizes = {name: np.abs(x * d_x).sum(axis=(-1, -2)) for (name, x), d_x in zip(names.items(), found, strict=True) if name in "qkv"}
    groups = sizes["q"].reshape(*sizes["k"].shape, -1).sum(axis=-1)
    return float(np.max(groups + sizes["k"] + sizes["v"], initial=0.0))


def uncapped(f: Mechanism, p: Problem) -> tuple[Array, Array]:
    """Returns the sums of absolute terms of d_q and d_k, were the derivative of the cap 1."""
    bias = p.options.get("bias")
    pairs = p.but(bias=np.zeros(p.full(), p.q.dtype) + (0.0 if bias is None else bias))
    d_scores = np.abs(p.scale * gradients(f, pairs)[list(floating(pairs)).index("bias")])
    by_q, by_k = d_scores @ np.abs(repeat_heads(p.q, p.k)[0]), d_scores.mT @ np.abs(p.q)
    return by_q, by_k.reshape(*p.k.shape[:-2], -1, *p.k.shape[-2:]).sum(axis=-3)
