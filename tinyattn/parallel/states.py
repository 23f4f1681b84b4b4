"""The linear family over many ranks: a span of tokens changes the state by an affine map, and ranks exchange these maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyattn.ops.checks import truth
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state, divided, state_pair, with_ones
from tinyattn.ops.storage import is_half, to_single
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import Together, agreed, check_layout, differentiated
from tinyattn.parallel.layout import Layout
from tinyattn.parallel.messages import gathered
from tinyattn.parallel.part import check_arrays


def recurrent(run: Callable[..., Any], q: Array, k: Array, v: Array, gates: Mapping[str, Array] | None = None,
              initial_state: Any = None, comm: Any = None, layout: Layout | None = None, *, normalize: bool = False,
              return_state: bool = False) -> Any:
    """Returns this rank's rows of a mechanism of the linear family over the whole sequence, in any layout.

    Formula: a span of tokens turns the state S before it into A S + C, and its rows are O + R S. One run from the state
    [0 I] with the values [v 0] gives all four; every rank gathers A and C of all spans and applies them in the order of the
    tokens.

    `run(q, k, v, **gates, initial_state=, return_state=True)` is the mechanism in any of its forms, causal and not normalised;
    `normalize` divides by the total weights, which are one more column of the values. `gates` are its arguments with one entry
    per token, log_decay or beta, of this rank's tokens. The state, (..., kv_heads, d, e) or with `normalize` the pair (state,
    normaliser), is the same on all ranks, and so is the last one, which `return_state` returns. The gradients are those of the
    sum of what all ranks compute; each rank gets its own part of the gradient of the initial state.

    Raises:
        TypeError, ValueError: on every rank, even if the mistake is on one: arrays of wrong shapes or lengths, a layout over
            another number of ranks, gates, shapes or dtypes that differ between ranks.

    >>> from tinyattn import definitions
    >>> from tinyattn.parallel import threads, zigzag
    >>> layout, x = zigzag(8, 2), np.ones((1, 8, 2))
    >>> def program(comm):
    ...     mine = layout.take(x, comm.Get_rank())
    ...     decay = {"log_decay": np.zeros(mine.shape[:-1])}
    ...     return recurrent(definitions.simple_gated_linear_attention_chunked, mine, mine, mine, decay, None, comm, layout)
    >>> layout.put(threads.run(2, program))[0, :, 0]
    array([ 2.,  4.,  6.,  8., 10., 12., 14., 16.])
    """
    def checked() -> tuple[dict[str, Any], Any]:
        facts, wide = facts_and_arrays(run, q, k, v, gates, comm, layout)
        features = features_of(run, wide)
        featured = np.zeros((*k.shape[:-1], features), wide["k"].dtype)  # the shape of the keys after the feature map
        states = check_state(initial_state, featured, wide["v"], truth("normalize", normalize))
        facts |= {"initial_state": None if initial_state is None else states.shape,
                  "normalize, return_state": (normalize, truth("return_state", return_state))}
        return facts, (wide, states)

    (wide, state), _ = agreed(comm, checked, "recurrent")
    with Together(comm, "recurrent"):
        out, last = folded(run, wide, state, comm, layout, normalize)  # type: ignore[arg-type]
    out = out.astype(q.dtype) if is_half(q.dtype) else out
    return (out, state_pair(last) if normalize else last) if return_state else out


def facts_and_arrays(run: Any, q: Array, k: Array, v: Array, gates: Any, comm: Any,
                     layout: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """Returns what all ranks must agree on, and q, k, v and the gates by name, 16-bit arrays as float32.

    Raises:
        TypeError: `run` cannot be called, or the gates are not a dict. ValueError: arrays that do not fit the layout.
    """
    if not callable(run):
        raise TypeError(f"run: expected a mechanism of the linear family, got {type(run).__name__}")
    check_arrays(q, k, v)
    check_layout(layout, comm.Get_size())
    count = layout.count(comm.Get_rank())
    gates = {} if gates is None else gates
    if not isinstance(gates, Mapping):
        raise TypeError(f"gates: expected a dict of arrays by name, got {type(gates).__name__}")
    given, token_axis = {"q": q, "k": k, "v": v, **gates}, k.ndim - 2
    for name, array in given.items():
        shape = tuple(getattr(array, "shape", ()))
        if len(shape) <= token_axis or shape[token_axis] != count:
            raise ValueError(f"{name}: expected the {count} tokens that the layout gives this rank, got shape {shape}")
    shapes = {f"the shape of {name} without its tokens": (*array.shape[:token_axis], *array.shape[token_axis + 1 :])
              for name, array in given.items()}
    facts = {"gates": tuple(gates), **shapes, "dtype": np.dtype(q.dtype).name, "layout": layout.spans,
             "arguments with gradients": differentiated(**given)}
    return facts, {name: to_single(array) for name, array in given.items()}


def folded(run: Callable[..., Any], given: Mapping[str, Array], state: Array, comm: Any, layout: Layout,
           normalize: bool) -> tuple[Array, Array]:
    """Returns this rank's rows and the last state; a normaliser is the last column of the state."""
    gates = dict(given)
    q, k, v = (gates.pop(name) for name in "qkv")
    values, token_axis = with_ones(v) if normalize else v, k.ndim - 2
    width, dtype, features = values.shape[-1], values.dtype, state.shape[-2]
    # A rank without tokens has an empty span, so that it takes part in the exchange, forward and backward.
    cuts = layout.cuts(comm.Get_rank()) or (slice(0, 0),)
    counts = tuple(max(len(spans), 1) for spans in layout.spans)
    rows, maps = [], []
    for cut in cuts:
        at = (slice(None),) * token_axis + (cut,)
        part = {name: gate[at] for name, gate in gates.items()}
        start = np.zeros((*k.shape[:-2], features, width + features), dtype)
        start[..., width:] = np.eye(features, dtype=dtype)
        blank = np.zeros((*v.shape[:-2], cut.stop - cut.start, features), dtype)
        out, end = run(q[at], k[at], np.concatenate((values[at], blank), axis=-1), **part, initial_state=start, return_state=True)
        # This adds 0: it makes a rank without tokens differentiate the same arrays as the other ranks.
        end = end + sum(x[..., :0].sum() for x in (k, v, *gates.values()))
        rows.append(out)
        maps.append(end)
    every = gathered(np.stack(maps), comm, counts, "recurrent")
    first = np.cumsum((0, *counts)).tolist()
    owners = [(rank, number) for rank, spans in enumerate(layout.spans) for number in range(len(spans))]
    before: dict[tuple[int, int], Array] = {}
    for rank, number in sorted(owners, key=lambda owner: layout.spans[owner[0]][owner[1]]):
        before[rank, number] = state
        change = every[first[rank] + number]
        state = change[..., width:] @ state + change[..., :width]
    finished = []
    for number, out in enumerate(rows):
        seen = before.get((comm.Get_rank(), number), state)
        read = split_group(out[..., width:], k.shape[-3]) if k.ndim > 2 else out[..., width:]
        carried = (read @ (seen[..., None, :, :] if k.ndim > 2 else seen)).reshape(*q.shape[:-2], out.shape[-2], width)
        finished.append(out[..., :width] + carried)
    # This adds 0: the rank of the first span, which reads no other span's map, also takes part in the backward of the exchange.
    whole = np.concatenate(finished, axis=-2) + every[:0].sum()
    return divided(whole) if normalize else whole, state


def features_of(run: Callable[..., Any], given: Mapping[str, Array]) -> int:
    """Returns the number of features of the mechanism's state, which a feature map may make larger than head_dim."""
    axis = given["k"].ndim - 2
    none = {name: x[(slice(None),) * axis + (slice(0, 0),)] for name, x in given.items()}
    made = run(none.pop("q"), none.pop("k"), none.pop("v"), **none, return_state=True)[1]
    if isinstance(made, tuple):
        raise TypeError("run: expected a mechanism that is not normalised; give it normalize=False, and `recurrent` normalize=True")
    return int(made.shape[-2])
