"""Attention in other libraries, on the same arrays. Each library is imported when it is measured; one that is absent is left out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tinyattn.cli.timing.kernel_cases import Case, scores
from tinyattn.ops.types import Array

Call = Callable[[], Any]
# Libraries that hold all scores of a case are left out above so many.
MOST_SCORES = {"ONNX Runtime": 1 << 27, "JAX": 1 << 27, "MyGrad": 1 << 23}


def pytorch(case: Case, arrays: tuple[Array, ...]) -> Call:
    """Returns PyTorch's scaled_dot_product_attention; a window or a pattern is the equivalent dense mask."""
    import torch

    tensors = [torch.from_numpy(array).requires_grad_(case.backward) for array in arrays]
    mask = torch.from_numpy(case.seen().dense(*case.shape[3:5]).copy()) if case.masked else None
    ones = torch.ones(case.shape[0], case.shape[1], case.shape[3], case.shape[5])

    def call() -> Any:
        out = torch.nn.functional.scaled_dot_product_attention(
            *tensors, attn_mask=mask, is_causal=case.causal and mask is None, enable_gqa=case.shape[1] != case.shape[2])
        return torch.autograd.grad(out, tensors, ones) if case.backward else out
    return call


def flex_attention(case: Case, arrays: tuple[Array, ...]) -> Call | None:
    """Returns PyTorch's flex_attention, compiled for a window, whose hidden blocks it skips; forward only."""
    if case.backward or case.window is None:
        return None
    import torch
    from torch.nn.attention import flex_attention as flex

    left, (q_len, kv_len) = case.window[0], case.shape[3:5]
    blocks = flex.create_block_mask(lambda _b, _h, i, j: (i >= j) & (i - j <= left), None, None, q_len, kv_len, device="cpu")
    compiled, tensors = torch.compile(flex.flex_attention), [torch.from_numpy(array) for array in arrays]
    return lambda: compiled(*tensors, block_mask=blocks)


def onnx_runtime(case: Case, arrays: tuple[Array, ...]) -> Call | None:
    """Returns ONNX Runtime's Attention operator; forward only."""
    if case.backward or case.masked:
        return None
    import onnxruntime
    from onnx import TensorProto, helper

    def named(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)

    node = helper.make_node("Attention", ["q", "k", "v"], ["out"], is_causal=int(case.causal))
    graph = helper.make_graph([node], "attention", [named(name) for name in "qkv"], [named("out")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = dict(zip("qkv", arrays, strict=True))
    return lambda: session.run(None, given)


def jax(case: Case, arrays: tuple[Array, ...]) -> Call | None:
    """Returns jax.nn.dot_product_attention, compiled; its arrays are (batch, length, heads, dim)."""
    if case.masked:
        return None
    import jax

    placed = [jax.numpy.asarray(np.ascontiguousarray(array.swapaxes(1, 2))) for array in arrays]

    def attend(*qkv: Any) -> Any:
        return jax.nn.dot_product_attention(*qkv, is_causal=case.causal)

    def slopes(*qkv: Any) -> Any:
        out, pullback = jax.vjp(attend, *qkv)
        return pullback(jax.numpy.ones_like(out))

    compiled = jax.jit(slopes if case.backward else attend)
    return lambda: jax.block_until_ready(compiled(*placed))


def mygrad(case: Case, arrays: tuple[Array, ...]) -> Call | None:
    """Returns the formula in MyGrad, another autograd on NumPy, which has no attention of its own."""
    if case.masked or case.shape[1] != case.shape[2]:
        return None
    import mygrad

    hidden = np.where(case.seen().dense(*case.shape[3:5]), np.float32(0), np.float32(-np.inf)) if case.causal else np.float32(0)
    factor = np.float32(case.shape[5] ** -0.5)

    def call() -> Any:
        q, k, v = (mygrad.tensor(array, constant=not case.backward, copy=False) for array in arrays)
        out = mygrad.nnet.softmax(mygrad.matmul(q, k.transpose(0, 1, 3, 2)) * factor + hidden, axis=-1) @ v
        if case.backward:
            out.backward(np.ones_like(out.data))
        return out
    return call


PEERS: dict[str, tuple[str, Callable[[Case, tuple[Array, ...]], Call | None]]] = {
    "PyTorch": ("torch", pytorch), "flex_attention": ("torch", flex_attention), "ONNX Runtime": ("onnxruntime", onnx_runtime),
    "JAX": ("jax", jax), "MyGrad": ("mygrad", mygrad)}


@cache
def installed(module: str) -> bool:
    """Returns whether a library is installed, and for ONNX Runtime the package that writes its models."""
    needed = [module, "onnx"] if module == "onnxruntime" else [module]
    return all(importlib.util.find_spec(name) is not None for name in needed)


def peers_of(case: Case, arrays: tuple[Array, ...]) -> dict[str, Call]:
    """Returns one call per library that is installed and takes the case, made once before. One that fails is named and left out."""
    calls: dict[str, Call] = {}
    for name, (module, make) in PEERS.items():
        if not installed(module) or scores(case) > MOST_SCORES.get(name, scores(case)):
            continue
        try:
            call = make(case, arrays)
            if call is not None:
                call()
                calls[name] = call
        except Exception as error:  # whatever a library raises: a compiler that is missing, an operator that is not built in
            print(f"{case}: {name} does not run here: {type(error).__name__}")
    return calls
