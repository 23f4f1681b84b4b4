"""The gate of SwiGLU and the two forms of GELU, each element read once."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.steps.registers import PART, again, alike, mapped, over
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.ops import activation
from tinyattn.ops.erf import FAR, FARTHEST, NEAR, series
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

ROOT, CUBE = math.sqrt(2.0 / math.pi), 0.044715


def swiglu_of(f, gate, up):
    """Returns silu(gate) up."""
    half = gate * 0.5
    return ((half * f.tanh(half) + half) * up,)


def swiglu_back(f, d_out, gate, up):
    """Returns the gradients of gate and up: silu' = s (1 + x (1 - s)), with s the sigmoid of x."""
    share = f.tanh(gate * 0.5) * 0.5 + 0.5
    return d_out * up * (share * (gate * (1.0 - share) + 1.0)), d_out * (gate * share)


def gelu_of(f, x):
    """Returns x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    near = f.clip(x, -10.0, 10.0)
    return (x * 0.5 * (f.tanh((near + near * near * near * CUBE) * ROOT) + 1.0),)


def gelu_back(f, d_out, x):
    """Returns the gradient of x: (1 + t) / 2 + x (1 - t^2) u' / 2, with t = tanh u."""
    near = f.clip(x, -10.0, 10.0)
    t = f.tanh((near + near * near * near * CUBE) * ROOT)
    slope = (near * near * (3.0 * CUBE) + 1.0) * ROOT
    return (d_out * ((t + 1.0) * 0.5 + near * 0.5 * (1.0 - t * t) * slope),)


def share_below(f, x):
    """Returns (1 + erf(x / sqrt(2))) / 2 as `normal_share` of ops computes it."""
    z = x * 0.5 ** 0.5
    size = f.below(z, 0.0, 0.0 - z, z)
    inside = f.clip(z, -1.0, 1.0)
    near = inside * series(NEAR, inside * inside * 2.0 - 1.0) * 0.5 + 0.5
    far = f.clip(size, 1.0, FARTHEST)
    t = 2.0 / (far + 2.0)
    tail = t * f.exp(series(FAR, t * 3.0 - 1.0) - far * far) * 0.5
    return f.below(size, 1.0, near, f.below(z, 0.0, tail, 1.0 - tail))


def exact_gelu_of(f, x):
    """Returns x times the share of a normal distribution below x."""
    return (f.below(x, -40.0, 0.0, x) * share_below(f, x),)


def exact_gelu_back(f, d_out, x):
    """Returns the gradient of x: the share below x, plus x times the density at x."""
    near = f.clip(x, -40.0, 40.0)
    return (d_out * (share_below(f, x) + near * f.exp(near * near * -0.5) * (0.5 * ROOT)),)


swiglu_step, swiglu_back_step, gelu_step, gelu_back_step, exact_gelu_step, exact_gelu_back_step = (
    mapped(formula) for formula in (swiglu_of, swiglu_back, gelu_of, gelu_back, exact_gelu_of, exact_gelu_back))


@inlined
def next_part(counter, size):
    """Returns where the next task begins and ends: PART elements, in all kernels of this file."""
    start = next_task(counter) * PART
    return start, min(size, start + PART)


@compiled
def swiglu_forward(counter, size, reads, writes):
    """Fills silu(gate) up."""
    start, stop = next_part(counter, size)
    while start < size:
        swiglu_step(reads, writes, start, stop)
        start, stop = next_part(counter, size)


@compiled
def swiglu_backward(counter, size, reads, writes):
    """Fills the gradients of gate and up."""
    start, stop = next_part(counter, size)
    while start < size:
        swiglu_back_step(reads, writes, start, stop)
        start, stop = next_part(counter, size)


@compiled
def gelu_forward(counter, size, reads, writes):
    """Fills GELU in its tanh form."""
    start, stop = next_part(counter, size)
    while start < size:
        gelu_step(reads, writes, start, stop)
        start, stop = next_part(counter, size)


@compiled
def gelu_backward(counter, size, reads, writes):
    """Fills the gradient of GELU in its tanh form."""
    start, stop = next_part(counter, size)
    while start < size:
        gelu_back_step(reads, writes, start, stop)
        start, stop = next_part(counter, size)


@compiled
def exact_gelu_forward(counter, size, reads, writes):
    """Fills GELU."""
    start, stop = next_part(counter, size)
    while start < size:
        exact_gelu_step(reads, writes, start, stop)
        start, stop = next_part(counter, size)


@compiled
def exact_gelu_backward(counter, size, reads, writes):
    """Fills the gradient of GELU."""
    start, stop = next_part(counter, size)
    while start < size:
        exact_gelu_back_step(reads, writes, start, stop)
        start, stop = next_part(counter, size)


@again(activation.swiglu)
@primitive
def swiglu_primitive(gate: Array, up: Array) -> tuple[Array, Any]:
    """Returns silu(gate) up of arrays of one shape and dtype."""
    return over(swiglu_forward, (gate, up), 1)[0], (gate, up)


@swiglu_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    return dict(zip(("gate", "up"), over(swiglu_backward, (d_out, *saved), 2), strict=True))


@again(activation.gelu)
@primitive
def gelu_primitive(x: Array) -> tuple[Array, Any]:
    """Returns GELU in its tanh form."""
    return over(gelu_forward, (x,), 1)[0], x


@gelu_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    return {"x": over(gelu_backward, (d_out, saved), 1)[0]}


@again(activation.exact_gelu)
@primitive
def exact_gelu_primitive(x: Array) -> tuple[Array, Any]:
    """Returns GELU."""
    return over(exact_gelu_forward, (x,), 1)[0], x


@exact_gelu_primitive.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    return {"x": over(exact_gelu_backward, (d_out, saved), 1)[0]}


@widened
def swiglu(gate: Array, up: Array) -> Array:
    """Returns `tinyattn.ops.swiglu` of arrays of one shape by the kernel; any others are left to it."""
    if alike(gate, up) and gate.shape == up.shape and gate.size:
        return swiglu_primitive(gate, up)
    return activation.swiglu(gate, up)


@widened
def gelu(x: Array) -> Array:
    """Returns `tinyattn.ops.gelu` by the kernel; what is no floating array is left to it."""
    return gelu_primitive(x) if alike(x) and x.size else activation.gelu(x)


@widened
def exact_gelu(x: Array) -> Array:
    """Returns `tinyattn.ops.exact_gelu` by the kernel; what is no floating array is left to it."""
    return exact_gelu_primitive(x) if alike(x) and x.size else activation.exact_gelu(x)
