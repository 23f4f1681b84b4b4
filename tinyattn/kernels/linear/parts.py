"""Long texts part by part: what a mechanism makes of its arrays in between is there for one part of the tokens at a time.

From part to part it carries its state. Kept for the walk back are the states between the parts, and what kernels gave; what is made
of the arguments around the kernels is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.arguments import tensor_kind
from tinyattn.engine.primitive import WALKED, primitive, walking
from tinyattn.engine.rerun import rerun
from tinyattn.kernels.states.replay import Tape
from tinyattn.kernels.tiles import pages
from tinyattn.ops.types import Array

# Numbers of the values from which on a text is taken in parts. Of fewer, all arrays in between take little memory, and to make them
# again takes up to a tenth of the time; arrays of this size are new pages each time, which costs as much.
LARGE = 1 << 23
# Numbers of the values of a part, and the least tokens of one.
PART, LEAST = 1 << 19, 64
# A form takes (start, q, k, v, three gates, two states, one array that all tokens share), and returns the output and its states.
Form = Callable[..., tuple[Any, ...]]


class Part(NamedTuple):
    """Some tokens: the first of them, and the rows of the queries and of each of the other arrays that belong to them."""

    start: int
    rows: tuple[slice, ...]


def large(v: Array) -> bool:
    """Returns whether a text with these values is taken in parts."""
    return v.size >= LARGE


def by_parts(form: Form, tokens: Sequence[Any], carried: Sequence[Any], shared: Any = None, *, outs: bool = False) -> tuple[Any, ...]:
    """Returns form(0, *tokens, *carried, shared), in parts of the tokens if there are many: (out, *carried after the last token).

    `tokens` are q, k, v and up to three arrays with as many rows as there are tokens, or a multiple of it; all have the axes of k
    before that of tokens. `carried` are one or two states, `shared` an array that all tokens read. The form is given the number of the
    first token. Only if `outs`, its gradients may read what kernels gave: it is kept.
    """
    given = [*tokens, *[None] * (6 - len(tokens)), *carried, *[None] * (2 - len(carried)), shared]
    if not large(tokens[2]):
        return form(0, *given)
    if not any(isinstance(x, tensor_kind()) for x in given):
        return folded(form, given, None)[0]
    # Second derivatives walk the form as a whole, and in it what they walk at this call.
    whole = partial(again, WALKED.get({}), form)
    result: tuple[Any, ...] = parted.again(whole)(form, outs, *given)
    return result


def again(walked: Any, form: Form, _outs: bool, *given: Any) -> tuple[Any, ...]:
    """Returns form(0, *given), whose primitives second derivatives walk by the functions of `walked`."""
    with walking(walked):
        return form(0, *given)


def parts_of(tokens: Sequence[Any]) -> Iterator[Part]:
    """Yields the parts of arrays, of which the first are the queries, keys and values."""
    axis, values = tokens[1].ndim - 2, tokens[2]
    count = min(x.shape[axis] for x in tokens[1:] if x is not None)
    first = count - tokens[0].shape[axis]
    step = max(LEAST, 1 << max(1, PART * count // max(values.size, 1)).bit_length() - 1)
    for start in range(0, count, step):
        stop = min(start + step, count)
        asked = slice(max(0, start - first), max(0, stop - first))
        rates = [1 if x is None else x.shape[axis] // count for x in tokens[1:]]
        yield Part(start, (asked, *[slice(start * rate, stop * rate) for rate in rates]))


def rows_of(x: Any, axis: int, rows: slice) -> Any:
    """Returns these rows of an array, or None of None."""
    return None if x is None else x[(slice(None),) * axis + (rows,)]


def folded(form: Form, given: Sequence[Any], outs: bool | None) -> tuple[tuple[Array, ...], list[Any]]:
    """Returns (out, the states after the last token), and of each part what its gradients read; nothing where `outs` is None."""
    tokens, carried, shared, runs = given[:6], given[6:8], given[8], []
    q, v, axis = tokens[0], tokens[2], tokens[1].ndim - 2
    out = pages.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    for part in parts_of(tokens):
        before, tape = carried, None if outs is None else Tape(outs=outs)
        cut = [rows_of(x, axis, rows) for x, rows in zip(tokens, part.rows, strict=True)]
        with nullcontext() if tape is None else tape.written():
            read, *after = form(part.start, *cut, *before, shared)
        rows_of(out, axis, part.rows[0])[...] = read
        carried = (*after, *[None] * (2 - len(after)))
        if tape is not None:
            runs.append((part, before, tape))
    return (out, *[x for x in carried if x is not None]), runs


@primitive
def parted(form: Form, outs: bool, q: Array, k: Array, v: Array, first: Any, second: Any, third: Any, state: Any, beside: Any,
           shared: Any) -> tuple[tuple[Array, ...], Any]:
    """Returns ((out, the states after the last token), what the backward reads)."""
    tokens = (q, k, v, first, second, third)
    results, runs = folded(form, (*tokens, state, beside, shared), outs)
    return results, (form, tokens, shared, runs)


@parted.backward_giving
def _(d_outs: tuple[Array, ...], saved: Any) -> dict[str, Array | None]:
    (d_out, *d_carried), (form, tokens, shared, runs) = d_outs, saved
    axis, names = tokens[1].ndim - 2, ("q", "k", "v", "first", "second", "third")
    slopes = {name: None if x is None else pages.empty(x.shape, x.dtype) for name, x in zip(names, tokens, strict=True)}
    d_shared = None if shared is None else np.zeros(shared.shape, shared.dtype)
    for part, before, tape in reversed(runs):
        cut = [rows_of(x, axis, rows) for x, rows in zip(tokens, part.rows, strict=True)]
        with tape.read():
            found = rerun(partial(form, part.start), [*cut, *before, shared], [rows_of(d_out, axis, part.rows[0]), *d_carried])
        for slope, rows, piece in zip(slopes.values(), part.rows, found[:6], strict=True):
            if slope is not None:
                rows_of(slope, axis, rows)[...] = 0 if piece is None else piece
        d_carried = [np.zeros_like(x) if d is None else d for x, d in zip(before, found[6:8], strict=True) if x is not None]
        if d_shared is not None and found[8] is not None:
            d_shared += found[8]
    return slopes | dict(zip(("state", "beside"), d_carried, strict=False)) | {"shared": d_shared}
