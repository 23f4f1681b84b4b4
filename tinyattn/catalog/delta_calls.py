"""The delta rules beyond the gated one as a decoder calls them: with queries and keys of length 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.state import StateCache
from tinyattn.laws.oracles.delta import in_turn
from tinyattn.laws.problem import Mechanism
from tinyattn.layers.inputs import Input, identity, log_sigmoid
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.norm import unit
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

GENERAL, KIMI, RWKV7 = definitions.generalized_delta_rule, definitions.kimi_delta_attention, definitions.rwkv7
INPUTS = {
    "generalized_delta_rule": (Input.of(GENERAL, "read", identity, 1.0), Input.of(GENERAL, "write", sigmoid, 0.0),
                               Input.of(GENERAL, "log_decay", log_sigmoid, 4.0)),
    "kimi_delta_attention": (Input.of(KIMI, "beta", sigmoid, 0.0), Input.of(KIMI, "log_decay", log_sigmoid, 4.0)),
    "rwkv7": (Input.of(RWKV7, "removal", identity, 1.0), Input.of(RWKV7, "rate", sigmoid, 0.0),
              Input.of(RWKV7, "log_decay", log_sigmoid, 4.0)),
    "delta_product": (Input("second_key", "kv_heads head_dim", identity, 0.0),
                      Input("second_value", "kv_heads head_dim", identity, 0.0), Input("beta", "kv_heads 2", sigmoid, 0.0),
                      Input("log_decay", "kv_heads", log_sigmoid, 4.0)),
}


def generalized(q: Array, k: Array, v: Array, *, read: Array, write: Array, **options: Any) -> Any:
    """Returns the generalized delta rule that removes a share `write` of what it reads along the key, whose channels `read` weighs."""
    k = unit(k)
    return fastest.generalized_delta_rule(unit(q), k, v, read=-unit(k * read), write=k * write, **options)


def rwkv7(q: Array, k: Array, v: Array, *, removal: Array, **options: Any) -> Any:
    """Returns RWKV-7's recurrence whose removal vectors are the keys, whose channels `removal` weighs, at length 1."""
    k = unit(k)
    return fastest.rwkv7(unit(q), k, v, removal=unit(k * removal), **options)


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",), per_token={
    "second_key": "(j,d)", "second_value": "(j,e)", "beta": "(j,2)", "log_decay": "(j)"})
def two_steps(q: Array, k: Array, v: Array, *, second_key: Array, second_value: Array, beta: Array, log_decay: Array,
              initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns DeltaProduct of two steps per token, whose second key and value are inputs of their own; strengths up to 2."""
    keys, values = (in_turn(np.concatenate(pair, axis=-1), 2) for pair in ((unit(k), unit(second_key)), (v, second_value)))
    return fastest.delta_product(unit(q), keys, values, beta=2 * in_turn(beta, 2)[..., 0], log_decay=log_decay, steps=2,
                                 initial_state=initial_state, return_state=return_state)


def side_by_side(f: Mechanism) -> Mechanism:
    """Returns DeltaProduct as f(q, k, v, beta=, ...) of tokens whose steps stand side by side.

    k (..., j, steps d), v (..., j, steps e), beta (..., j, steps); a beta of another shape is left for f to refuse.
    """
    def mechanism(q: Array, k: Array, v: Array, *, beta: Array, **options: Any) -> Any:
        steps = k.shape[-1] // q.shape[-1]
        strengths = in_turn(beta, steps)[..., 0] if getattr(beta, "shape", ()) == (*k.shape[:-1], steps) else beta
        return f(q, in_turn(k, steps), in_turn(v, steps), beta=strengths, steps=steps, **options)

    return mechanism


def cache_of_steps(f: Mechanism) -> Callable[[], Any]:
    """Returns the maker of a `StateCache` of DeltaProduct that takes tokens whose steps stand side by side."""
    def make() -> Any:
        caches: list[StateCache] = []

        def step(q: Array, k: Array, v: Array, *, beta: Array, **options: Any) -> Array:
            caches[:] = caches or [StateCache(partial(f, steps=beta.shape[-1]))]
            return side_by_side(lambda *arrays, steps, **gates: caches[0].step(*arrays, **gates))(q, k, v, beta=beta, **options)

        return SimpleNamespace(step=step)

    return make
