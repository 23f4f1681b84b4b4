"""One more token like the last, folded into the state that the last one left: what that one passed is not checked again.

The public function of a mechanism takes some 25 microseconds before its kernel begins, as long as the kernel itself on 32 heads of
64 x 64. All of it that depends on types, shapes and options alone is done here once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.states.features import NONE, TAYLOR, number_of
from tinyattn.kernels.states.primitive import flat, sizes_of
from tinyattn.kernels.states.step import step
from tinyattn.ops.features import elu_plus_one
from tinyattn.ops.options import check_scale
from tinyattn.ops.types import Array

# The mechanisms, each with its gates.
GATES: Mapping[str, frozenset[str]] = {
    "delta_rule": frozenset({"beta"}), "gated_delta_rule": frozenset({"beta", "log_decay"}),
    "gated_linear_attention": frozenset({"log_decay"}), "linear_attention": frozenset(), "retention": frozenset({"log_decay"}),
    "simple_gated_linear_attention": frozenset({"log_decay"})}
FLOATS = (np.float32, np.float64)
# Options that are bound to a mechanism; `chunk` changes nothing.
BOUND = frozenset({"scale", "chunk", "feature_map", "normalize", "log_decay", "beta"})
# Bytes of a line of the cache. A state that begins elsewhere is read and written across two of them, in 1.15 times the time.
LINE = 64
# Above it no exponential underflows. To have NumPy ignore that takes a microsecond, a twentieth of a step.
LEAST = -80.0


class Token(NamedTuple):
    """What all tokens share that `token_like` prepares: the state, its normaliser and rows to work in are flat."""

    numbers: tuple[int, ...]
    scale: float
    feature: int
    channels: int
    shape: tuple[int, ...]
    copies: int
    gates: Mapping[str, Array | None]
    nothing: Array
    state: Array
    total: Array
    weights: Array
    written: Array

    def fold(self, counter: Array, q: Array, k: Array, v: Array, options: Mapping[str, Any]) -> Array | None:
        """Returns the output of one more token, whose arrays and options have the types, shapes and names of the one before.

        It is folded into the state in one call that nothing interrupts and that counts. None, with nothing done, where a gate has a
        value that the mechanism refuses.
        """
        decay = beta = self.nothing
        if "log_decay" in self.gates:
            logs = flat(options.get("log_decay", self.gates["log_decay"]))
            if not logs.item(logs.argmax()) <= 0:  # a NaN counts as largest
                return None
            decay = np.exp(logs) if logs.item(logs.argmin()) > LEAST else underflowing(logs)
            if self.copies > 1:
                decay = np.tile(decay, self.copies)
        if "beta" in self.gates:
            beta = flat(options.get("beta", self.gates["beta"]))
            if not (math.isfinite(beta.item(beta.argmax())) and math.isfinite(beta.item(beta.argmin()))):
                return None
        out, state, total = np.empty(self.shape, q.dtype), self.state, self.total
        step(counter, self.numbers, self.scale, self.feature, self.nothing, flat(q), flat(k), flat(v), decay, self.channels, beta,
             state, total, out.reshape(-1), state, total, self.weights, self.written)
        return out


def token_like(name: str, bound: Mapping[str, Any], q: Array, k: Array, v: Array, options: Mapping[str, Any],
               state: tuple[Array, ...]) -> tuple[Token, tuple[Array, ...]] | None:
    """Returns what folds in tokens like one that the kernel of a mechanism has just folded into a state, and the state they share.

    That is a copy which begins with a line of the cache. `bound` are the options that stand in every call, `options` those of this
    one. None where nothing can be prepared: for other mechanisms, several tokens, options of a call that are no gates, and arrays
    that are not plain, of float32 or float64.
    """
    if name not in GATES or not options.keys() <= GATES[name] or not bound.keys() <= BOUND or not state[0].size:
        return None
    gates = {gate: options.get(gate, bound.get(gate)) for gate in GATES[name]}
    plain = all(type(x) is np.ndarray and x.dtype == q.dtype for x in (q, k, v, *gates.values()))
    if not plain or q.dtype not in FLOATS or q.ndim < 3 or q.shape[-2] != 1 or k.shape[-2] != 1:
        return None
    feature = number_of(bound.get("feature_map", elu_plus_one)) if name == "linear_attention" else NONE
    if feature is None or feature == TAYLOR:
        return None
    sizes, nothing, own = sizes_of(q, k, v), np.zeros(0, q.dtype), tuple(aligned(array) for array in state)
    weights = np.empty(math.prod(q.shape[:-1]) if len(own) > 1 else 0, q.dtype)
    written = np.empty(v.size if "beta" in gates else 0, q.dtype)
    by_channel = name == "gated_linear_attention" and gates["log_decay"].shape == k.shape
    token = Token(tuple(sizes), check_scale(bound.get("scale")), feature, int(by_channel), (*q.shape[:-1], v.shape[-1]),
                  sizes.batch if name == "retention" else 1, gates, nothing, own[0].reshape(-1),
                  own[1].reshape(-1) if len(own) > 1 else nothing, weights, written)
    return token, own


def underflowing(logs: Array) -> Array:
    """Returns the exponentials of numbers of which some may be 0, whatever the caller lets NumPy say of that."""
    with np.errstate(under="ignore"):
        decay: Array = np.exp(logs)
    return decay


def aligned(x: Array) -> Array:
    """Returns a copy of an array that begins with a line of the cache.

    >>> aligned(np.ones((2, 3))).__array_interface__["data"][0] % LINE
    0
    """
    room = np.empty(x.nbytes + LINE, np.uint8)
    start = -room.__array_interface__["data"][0] % LINE
    own: Array = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    own[...] = x
    return own
