"""The gradients of a function that is written with other functions: run it on Tensors, then walk back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import mapped, tensor_kind
from tinyattn.engine.graph import RECORD, Node, ancestry, mode, now, walk


def entered(tensor: Any) -> Any:
    """Returns a Tensor of the same array that begins a new graph; its gradient is passed on to the graph of the given Tensor."""
    parents = () if tensor.node is None else (tensor.node,)
    return tensor_kind().of(tensor._value, Node(tensor._value.shape, tensor._value.dtype, parents, lambda g: (g,)))


def pull_through(body: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> Callable[[Any], Sequence[Any]]:
    """Returns the pullback of body(*args, **options): one gradient for each Tensor that is on a graph, in order.

    The body runs when the pullback does, so that a forward pass costs NumPy's own computation alone.
    """
    def pull(g: Any) -> Sequence[Any]:
        inputs: list[Node] = []
        graph, start = mode.current is RECORD, now()

        def enter(a: Any) -> Any:
            if type(a) is not tensor_kind() or a.node is None:
                return a
            a = entered(a)
            inputs.append(a.node)
            return a

        previous, mode.current = mode.current, RECORD
        try:
            with np.errstate(all="ignore"):  # NumPy warned of these numbers in the forward pass
                out = body(*mapped(enter, list(args)), **mapped(enter, options))
        finally:
            mode.current = previous
        pairs = zip(out, g, strict=True) if isinstance(out, (tuple, list)) else [(out, g)]
        seeds = [(o.node, d) for o, d in pairs if d is not None and type(o) is tensor_kind() and o.node is not None]
        order = ancestry([node for node, _ in seeds], start)
        found, _ = walk(seeds, inputs, order=order, keep=graph, graph=graph)
        return [found.get(node) for node in inputs]

    return pull
