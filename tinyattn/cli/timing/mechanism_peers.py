"""The mechanisms in other libraries, on the same arrays. Each is imported when it is measured; one that is absent is left out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from tinyattn.cli.timing.mechanism_case import DIM, HEADS, Case, grid_of

# A peer takes the tensors q, k, v (1, heads, length, dim) and the case's mask, and returns its result.
Peer = Callable[[Any, Any, Any, Any], Any]
# The mechanisms that are a softmax over the visible keys, and so exact attention under a dense mask.
MASKED = ("attention", "multi_head_local_attention", "bigbird_attention", "block_sparse_attention", "gathered_attention",
          "shifted_sparse_attention")


def absent() -> list[str]:
    """Returns the libraries that are not installed."""
    return [library for library in ("torch", "fla", "local_attention") if find_spec(library) is None]


def peers_of(case: Case, length: int, *, backward: bool) -> dict[str, Callable[[], Any]]:
    """Returns a call per library that has the mechanism, made once before. One that fails is named and left out."""
    if find_spec("torch") is None:
        return {}
    import torch

    rng = np.random.default_rng(0)
    tensors = [torch.from_numpy(rng.standard_normal((1, HEADS, length, DIM)).astype(np.float32)).requires_grad_(backward)
               for _ in range(3)]
    mask = None
    if case.name in MASKED and case.name != "attention":
        mask = torch.from_numpy(np.array(case.seen(length).dense(length, length)))
    calls: dict[str, Callable[[], Any]] = {}
    for name, form in forms_of(case, length).items():
        def run(form: Peer = form) -> Any:
            out = form(tensors[0], tensors[1], tensors[2], mask)
            return torch.autograd.grad(out.sum(), tensors, allow_unused=True) if backward else out

        try:
            run()
            calls[name] = run
        except Exception as error:  # whatever a library raises: a compiler that is missing, an operator that is not built in
            print(f"{case.name}: {name} does not run here: {type(error).__name__}")
    return calls


def forms_of(case: Case, length: int) -> dict[str, Peer]:
    """Returns the forms of a mechanism in the libraries that are installed."""
    import torch

    functional = torch.nn.functional
    attend = functional.scaled_dot_product_attention
    forms: dict[str, Peer] = {}
    if case.name in MASKED and not case.variant:
        forms["PyTorch"] = lambda q, k, v, mask: attend(q, k, v, attn_mask=mask, is_causal=mask is None)
    elif case.name == "qk_norm_attention":
        forms["PyTorch"] = lambda q, k, v, _: attend(*(functional.rms_norm(x, (DIM,)) for x in (q, k)), v, is_causal=True)
    elif case.name == "gated_attention":
        forms["PyTorch"] = lambda q, k, v, _: attend(q, k, v, is_causal=True) * torch.sigmoid(q[..., :1])
    elif case.name == "differential_attention":
        forms["PyTorch"] = lambda q, k, v, _: attend(q, k, v, is_causal=True) - 0.3 * attend(k, q, v, is_causal=True)
    elif case.name == "neighborhood_attention":
        forms["unfold"] = lambda q, k, v, _: unfolded(q, k, v, grid_of(length), case.options["kernel"])
    elif case.name == "shifted_window_attention":
        forms["PyTorch"] = lambda q, k, v, _: in_windows(q, k, v, grid_of(length), case.options["window"])
    if case.name == "multi_head_local_attention" and find_spec("local_attention") is not None:
        made = import_module("local_attention").LocalAttention
        near = made(case.options["window"], causal=True, look_backward=1, exact_windowsize=True, use_rotary_pos_emb=False)
        forms["local-attention"] = lambda q, k, v, _: near(q, k, v)
    return forms


def unfolded(q: Any, k: Any, v: Any, grid: tuple[int, int], kernel: int) -> Any:
    """Returns attention over the neighbours that unfold gathers: the same number of keys, some of them padding at a border."""
    import torch

    def gathered(x: Any) -> Any:
        cells = x[0].mT.reshape(HEADS, DIM, *grid)
        near = torch.nn.functional.unfold(cells, kernel, padding=kernel // 2)
        return near.reshape(1, HEADS, DIM, kernel * kernel, -1).permute(0, 1, 4, 3, 2)

    return torch.nn.functional.scaled_dot_product_attention(q[..., None, :], gathered(k), gathered(v))[..., 0, :]


def in_windows(q: Any, k: Any, v: Any, grid: tuple[int, int], window: int) -> Any:
    """Returns attention within windows that are cut out, as vision models do."""
    import torch

    rows, columns = (side // window for side in grid)

    def cut(x: Any) -> Any:
        cells = x[0].reshape(HEADS, rows, window, columns, window, DIM)
        return cells.permute(1, 3, 0, 2, 4, 5).reshape(rows * columns, HEADS, window * window, DIM)

    out = torch.nn.functional.scaled_dot_product_attention(cut(q), cut(k), cut(v))
    cells = out.reshape(rows, columns, HEADS, window, window, DIM).permute(2, 0, 3, 1, 4, 5)
    return cells.reshape(1, HEADS, -1, DIM)
