"""Linear mechanisms in other libraries, on the same arrays: fla's plain files and transformers' path without kernels of its own."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tinyattn.ops.types import Array

Call = Callable[[], Any]


@cache
def fla_file(folder: str) -> Any:
    """Returns the plain file of one of fla's operators, loaded by itself: importing the package asks for a GPU's compiler."""
    found = importlib.util.find_spec("fla")
    if found is None or not found.submodule_search_locations:
        raise ImportError("fla is not installed")
    path = Path(next(iter(found.submodule_search_locations))) / "ops" / folder / "naive.py"
    spec = importlib.util.spec_from_file_location(f"fla_naive_{folder}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def turned(**renamed: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Returns a function that makes a library's arguments from ours: (batch, length, heads, ...), under its own names."""
    return lambda given: {theirs: given[ours].transpose(1, 2) for theirs, ours in renamed.items()}


QKV = {"q": "q", "k": "k", "v": "v"}
# Per mechanism the name of each form, where it is found, and its arguments. fla's chunk of the delta rule takes heads first.
FORMS: dict[str, dict[str, tuple[Callable[[], Callable[..., Any]], Callable[[Mapping[str, Any]], dict[str, Any]]]]] = {
    "simple_gated_linear_attention": {
        "fla chunk": (lambda: fla_file("simple_gla").naive_chunk_simple_gla, turned(**QKV, g="log_decay")),
        "fla loop": (lambda: fla_file("simple_gla").naive_recurrent_simple_gla, turned(**QKV, g="log_decay"))},
    "gated_linear_attention": {"fla loop": (lambda: fla_file("gla").naive_recurrent_gla, turned(**QKV, gk="log_decay"))},
    "delta_rule": {"fla chunk": (lambda: fla_file("delta_rule").delta_rule_chunkwise, dict)},
    "gated_delta_rule": {
        "fla chunk": (lambda: fla_file("gated_delta_rule").naive_chunk_gated_delta_rule, turned(**QKV, g="log_decay", beta="beta")),
        "fla loop": (lambda: fla_file("gated_delta_rule").naive_recurrent_gated_delta_rule,
                     turned(**QKV, g="log_decay", beta="beta")),
        "transformers": (lambda: importlib.import_module("transformers.models.qwen3_next.modeling_qwen3_next")
                         .torch_chunk_gated_delta_rule, turned(query="q", key="k", value="v", g="log_decay", beta="beta"))},
}


def linear_peers(name: str, arrays: Mapping[str, Array], *, backward: bool) -> dict[str, Call]:
    """Returns one call per library that is installed and has the mechanism, made once before; with all gradients if asked.

    fla's loops are called forward only. A library that fails is named and left out.
    """
    calls: dict[str, Call] = {}
    for peer, (find, arguments) in FORMS.get(name, {}).items():
        if backward and peer == "fla loop":
            continue
        try:
            made = call_of(find(), arguments, arrays, backward=backward)
            made()
        except ImportError:
            continue
        except Exception as error:  # whatever a library raises: an argument that it no longer takes, too little memory
            print(f"{name}: {peer} does not run here: {type(error).__name__}")
        else:
            calls[peer] = made
    return calls


def call_of(form: Callable[..., Any], arguments: Callable[[Mapping[str, Any]], dict[str, Any]], arrays: Mapping[str, Array], *,
            backward: bool) -> Call:
    """Returns one call of a form in PyTorch, on our arrays."""
    import torch

    tensors = {name: torch.from_numpy(np.ascontiguousarray(x)).requires_grad_(backward) for name, x in arrays.items()}

    def call() -> Any:
        if not backward:
            with torch.no_grad():
                return form(**arguments(tensors))
        out = form(**arguments(tensors))[0]
        return torch.autograd.grad(out, list(tensors.values()), torch.ones_like(out))

    return call
