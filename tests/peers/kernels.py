"""Attention functions of other libraries as functions of tinyattn's arguments, each in at most ten lines."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")


def torch_with(backend):
    """Returns PyTorch's scaled_dot_product_attention, computed by one of its backends."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def torch_sdpa(q, k, v, mask=None, bias=None, causal=False, scale=None):
        if mask is not None and bias is not None:
            raise NotImplementedError("a mask and a bias together")
        with sdpa_kernel(getattr(SDPBackend, backend)):
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask if bias is None else bias, is_causal=causal, scale=scale, enable_gqa=True)
    return torch_sdpa


def torch_math():
    return torch_with("MATH")


def torch_flash():
    return torch_with("FLASH_ATTENTION")


def torch_flex():
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def flex(q, k, v, bias=None, causal=False, scale=None):
        late = k.shape[-2] - q.shape[-2]
        mask = create_block_mask(lambda b, h, i, j: j <= i + late, None, None, q.shape[-2], k.shape[-2], device="cpu") if causal else None
        score = None if bias is None else lambda s, b, h, i, j: s + bias.expand(1, *bias.shape[-2:])[0, i, j]
        return flex_attention(q, k, v, score_mod=score, block_mask=mask, scale=scale, enable_gqa=True)
    torch.compiler.set_stance("force_eager")
    return flex


def torch_multihead(need_weights):
    import torch

    def multihead(q, k, v, mask=None, causal=False):
        heads, width = q.shape[1], q.shape[1] * q.shape[3]
        layer = torch.nn.MultiheadAttention(width, heads, bias=False, batch_first=True, dtype=q.dtype)
        layer.in_proj_weight.data = torch.eye(width, dtype=q.dtype).repeat(3, 1)
        layer.out_proj.weight.data = torch.eye(width, dtype=q.dtype)
        hidden = ~mask if mask is not None else ~torch.ones(q.shape[2], k.shape[2], dtype=bool).tril() if causal else None
        flat = [x.transpose(1, 2).flatten(2) for x in (q, k, v)]
        out = layer(*flat, attn_mask=hidden, is_causal=causal, need_weights=need_weights)[0]
        return out.unflatten(-1, (heads, -1)).transpose(1, 2)
    return multihead


def jax_attention():
    import jax

    def dot_product_attention(q, k, v, mask=None, bias=None, causal=False, window=None, scale=None):
        return jax.nn.dot_product_attention(q, k, v, bias if bias is None else bias[None, None], mask if mask is None else mask[None, None],
                                            scale=scale, is_causal=causal, local_window_size=window)
    return dot_product_attention


def mlx_attention():
    import mlx.core as mx

    def mlx_sdpa(q, k, v, mask=None, bias=None, causal=False, scale=None, sinks=None):
        if (mask is not None) + (bias is not None) + causal > 1:
            raise NotImplementedError("one of mask, bias and causal")
        chosen = "causal" if causal else mask if bias is None else bias
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5 if scale is None else scale, mask=chosen, sinks=sinks)
    return mlx_sdpa


def onnx_attention():
    """Returns ONNX's Attention operator, opset 23, as ONNX Runtime computes it."""
    from onnx import TensorProto, helper

    def session(dtype, shapes, kind, attributes):
        import onnxruntime

        names = ["q", "k", "v"] + (["mask"] if kind else [])
        kinds = [dtype] * 3 + ([kind] if kind else [])
        inputs = [helper.make_tensor_value_info(n, t, s) for n, t, s in zip(names, kinds, shapes, strict=True)]
        node = helper.make_node("Attention", names, ["out"], **attributes)
        graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("out", dtype, [None] * 4)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def onnx(q, k, v, mask=None, bias=None, causal=False, scale=None, softcap=None):
        if mask is not None and bias is not None:
            raise NotImplementedError("a mask and a bias together")
        dtype, extra = helper.np_dtype_to_tensor_dtype(q.dtype), mask if bias is None else bias
        kind = None if extra is None else TensorProto.BOOL if bias is None else dtype
        given = {"is_causal": int(causal)} | ({"scale": scale} if scale else {}) | ({"softcap": softcap} if softcap else {})
        feeds = {"q": q, "k": k, "v": v} | ({} if extra is None else {"mask": extra})
        return session(dtype, [x.shape for x in feeds.values()], kind, given).run(None, feeds)[0]
    return onnx


def onnx_reference():
    """Returns ONNX's Attention operator as its reference implementation computes it."""
    from onnx.reference.ops.op_attention import _compute_attention

    def reference(q, k, v, mask=None, bias=None, causal=False, scale=None, softcap=None):
        if mask is not None and bias is not None:
            raise NotImplementedError("a mask and a bias together")
        return _compute_attention(q, k, v, attn_mask=mask if bias is None else bias, is_causal=int(causal), scale=scale,
                                  softcap=softcap or 0.0)[0]
    return reference


def transformers_with(name):
    import types

    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.llama.modeling_llama import eager_attention_forward

    def forward(q, k, v, mask=None, bias=None, causal=False, scale=None):
        module = types.SimpleNamespace(num_key_value_groups=q.shape[1] // k.shape[1], is_causal=causal, training=False, config=None)
        extra = bias if mask is None else mask
        if mask is not None and bias is not None:
            raise NotImplementedError("a mask and a bias together")
        extra = None if extra is None else extra.expand(q.shape[0], 1, *extra.shape[-2:])
        if name == "sdpa":
            return sdpa_attention_forward(module, q, k, v, extra, scaling=scale, is_causal=causal)[0]
        if mask is not None or causal:
            raise NotImplementedError("eager takes an additive mask alone")
        return eager_attention_forward(module, q, k, v, extra, scaling=q.shape[-1] ** -0.5 if scale is None else scale)[0]
    return forward


def transformers_eager():
    return transformers_with("eager")


def transformers_sdpa():
    return transformers_with("sdpa")


def keras_attention():
    import keras

    def keras_sdpa(q, k, v, mask=None, bias=None, causal=False, scale=None):
        return keras.ops.dot_product_attention(q, k, v, bias=None if bias is None else bias[None, None],
                                               mask=None if mask is None else mask[None, None], scale=scale, is_causal=causal,
                                               flash_attention=False)
    return keras_sdpa


def fla_file(name):
    """Returns a file of fla.ops as a module by itself, as the package imports triton, which its plain references do not need."""
    import importlib.util
    import pathlib

    path = pathlib.Path(importlib.util.find_spec("fla").origin).parent / "ops" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fla_attention():
    naive_parallel_attn = fla_file("attn/naive.py").naive_parallel_attn

    def naive(q, k, v, causal=False, window=None, scale=None, sinks=None):
        if q.shape[1] != k.shape[1] or (window is not None and (window[1] or window[0] is None)):
            raise NotImplementedError("as many queries as keys, and a window looks back")
        return naive_parallel_attn(q, k, v, sink_bias=sinks, window_size=None if window is None else window[0] + 1, scale=scale,
                                   causal=causal)[0]
    return naive


# What is judged: its name, the adapter, the arrays it takes, the preset it is declared in, packages whose versions count.
PEERS = (
    ("PyTorch, math", torch_math, "torch", "torch", ("torch",)),
    ("PyTorch, flash", torch_flash, "torch", "torch", ("torch",)),
    ("PyTorch, flex_attention", torch_flex, "torch", None, ("torch",)),
    ("PyTorch, MultiheadAttention, need_weights=False", lambda: torch_multihead(False), "torch", None, ("torch",)),
    ("PyTorch, MultiheadAttention, need_weights=True", lambda: torch_multihead(True), "torch", None, ("torch",)),
    ("JAX, dot_product_attention", jax_attention, "jax", "jax", ("jax",)),
    ("Keras, dot_product_attention on JAX", keras_attention, "jax", "jax", ("keras", "jax")),
    ("ONNX Runtime, Attention", onnx_attention, "numpy", "onnx", ("onnxruntime",)),
    ("ONNX, reference of Attention", onnx_reference, "numpy", "onnx", ("onnx",)),
    ("MLX, scaled_dot_product_attention", mlx_attention, "mlx", "mlx", ("mlx",)),
    ("transformers, eager", transformers_eager, "torch", "transformers", ("transformers", "torch")),
    ("transformers, sdpa", transformers_sdpa, "torch", "transformers", ("transformers", "torch")),
    ("fla, naive_parallel_attn", fla_attention, "torch", "fla", ("fla-core", "torch")),
)
# Findings of these are the library's own, not the preset's.
OWN_DIALECT = tuple(peer for peer in PEERS if peer[3])
