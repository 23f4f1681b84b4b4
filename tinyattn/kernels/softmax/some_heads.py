"""Attention whose queries, keys and values are made of other arrays for some heads at a time, and once more in the backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.engine.rerun import rerun
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.softmax.part import Call, Results, call_of, room_for, some_of
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_causal, check_mask, check_scale, check_softcap
from tinyattn.ops.types import Array

# Numbers of the queries of the heads that are computed at once.
TOGETHER = 1 << 20


class Form(NamedTuple):
    """How q, k and v are made of six arrays, and along which axis of each the heads stand; None where all heads read it.

    `out(read, *arrays)` is the result. `pulled` makes the values of which the result is a mean, where `made` makes others.
    """

    made: Callable[..., tuple[Array, Array, Array]]
    axes: tuple[int | None, ...]
    pulled: Callable[..., tuple[Array, Array, Array]]
    out: Callable[..., Array]

    def kv_heads(self, arrays: tuple[Array, ...]) -> int:
        """Returns how many kv heads there are: query heads are as many or several times as many."""
        return min(x.shape[axis] for x, axis in zip(arrays, self.axes, strict=True) if axis is not None)

    def of_heads(self, arrays: tuple[Array, ...], some: slice) -> list[Array]:
        """Returns of each array what some kv heads read."""
        count = self.kv_heads(arrays)
        return [x if axis is None else np.moveaxis(np.moveaxis(x, axis, 0)[scaled(some, x.shape[axis] // count)], 0, axis)
                for x, axis in zip(arrays, self.axes, strict=True)]


class Saved(NamedTuple):
    """What the backward reads: the arrays, the result, and each row's largest score and sum of exponentials."""

    form: Form
    options: exact.Options
    size: int
    arrays: tuple[Array, ...]
    results: Results


def long(size: int, mask: Array | Pattern | None) -> bool:
    """Returns whether queries of so many numbers are computed some heads at a time."""
    # A pattern of several heads says of all of them at once who sees whom, and cannot be cut.
    several = isinstance(mask, Pattern) and mask.visible(np.arange(1), np.arange(1)).ndim > 2
    return size > TOGETHER and not several


def options_of(full: tuple[int, ...], head_dim: int, mask: Array | Pattern | None, causal: bool, window: Window | None,
               scale: float | None, softcap: float | None = None) -> exact.Options:
    """Returns the options of a call, checked."""
    mask, (left, right) = check_mask(mask, full), sides_of(window)
    right = 0 if check_causal(causal) else right
    mask = Constant(mask) if isinstance(mask, Pattern) else mask  # its tiles are listed once for all heads
    return exact.Options(mask, left, right, check_scale(scale, head_dim), check_softcap(softcap), False)


def all_heads(a: Array, b: Array, c: Array, d: Array, e: Array, f: Array, form: Form, options: exact.Options, _size: int) -> Array:
    """Returns the attention of all heads at once."""
    arrays = a, b, c, d, e, f
    q, k, v = form.made(*arrays)
    return form.out(exact.attention_with_lse(q, k, v, None, None, None, options)[0], *arrays)


@once
@primitive
def some_heads(a: Array, b: Array, c: Array, d: Array, e: Array, f: Array, form: Form, options: exact.Options,
               size: int) -> tuple[Array, Saved]:
    """Returns what `all_heads` returns, some heads at a time, and what the backward reads; the queries have `size` numbers."""
    arrays, results = (a, b, c, d, e, f), None
    for some in parts_of(form, arrays, size):
        of_some = form.of_heads(arrays, some)
        q, k, v = form.made(*of_some)
        call = call_for(options, some, form.kv_heads(arrays), q, k, v)
        found = call.solved(call.blanked(q, k, v))
        found = found._replace(out=form.out(found.out, *of_some))
        heads = scaled(some, found.out.shape[-3] // (some.stop - some.start))
        if results is None:
            shape = (*found.out.shape[:-3], heads.stop * form.kv_heads(arrays) // some.stop, *found.out.shape[-2:])
            results = room_for(pages.empty(shape, found.out.dtype))
        results.at((..., heads, slice(None))).put(found)
    if results is None:
        raise ValueError("some_heads: there are no heads")
    return results.out, Saved(form, options, size, arrays, results)


@some_heads.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    form, arrays = saved.form, saved.arrays
    gradients = [(pages.zeros if axis is None else pages.empty)(x.shape, x.dtype) for x, axis in zip(arrays, form.axes, strict=True)]
    for some in parts_of(form, arrays, saved.size):
        slopes = slopes_of(some, d_out, saved)
        for total, axis in zip(form.of_heads(tuple(gradients), some), form.axes, strict=True):
            if axis is None:
                total += slopes.pop(0)
            else:
                total[...] = slopes.pop(0)
    return dict(zip("abcdef", gradients, strict=True))


def slopes_of(some: slice, d_out: Array, saved: Saved) -> list[Array]:
    """Returns what some kv heads give to the gradient of each array that they read."""
    form, of_some = saved.form, saved.form.of_heads(saved.arrays, some)
    q, k, v = form.pulled(*of_some)
    call = call_for(saved.options, some, form.kv_heads(saved.arrays), q, k, v)
    heads = scaled(some, q.shape[-3] // (some.stop - some.start))
    # The gradients of the keys of a single head are summed from copies, of which there are half as many as usual.
    beside = 2 if call.sizes.batch * call.sizes.kv_heads == 1 else 1
    results = saved.results.at((..., heads, slice(None)))
    found = call.pulled(call.blanked(q, k, v), np.ascontiguousarray(d_out[..., heads, :, :]), results, whole=True, beside=beside)
    del q, k, v
    return rerun(form.pulled, of_some, [found.pop(name) for name in "qkv"])


def parts_of(form: Form, arrays: tuple[Array, ...], size: int) -> list[slice]:
    """Returns the kv heads, some at a time; shapes alone say how many."""
    return some_of(form.kv_heads(arrays), size, TOGETHER)


def call_for(options: exact.Options, some: slice, kv_heads: int, q: Array, k: Array, v: Array) -> Call:
    """Returns the call of some kv heads, with their part of a mask of all heads."""
    mask = options.mask
    if isinstance(mask, np.ndarray) and mask.ndim > 2 and mask.shape[-3] > 1:
        mask = mask[..., scaled(some, mask.shape[-3] // kv_heads), :, :]
    return call_of(options._replace(mask=mask), q.dtype, q.shape, k.shape, v.shape)


def scaled(some: slice, times: int) -> slice:
    """Returns the heads of some groups of so many each."""
    return slice(some.start * times, some.stop * times)
