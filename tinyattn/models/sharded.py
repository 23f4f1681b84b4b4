"""A decoder over many ranks: each reads some tokens of every sequence, and all take the same step of training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tinyattn.engine.grad import value_and_grad
from tinyattn.engine.tree import differentiable, leaves, map_tree
from tinyattn.layers.attention import SelfAttention
from tinyattn.models.decoder import Decoder
from tinyattn.models.optimise import AdamW
from tinyattn.models.text import batch_of
from tinyattn.models.train import Step, descend
from tinyattn.ops.softmax import log_softmax
from tinyattn.ops.types import Array
from tinyattn.parallel import Layout, contiguous, head_parallel_attention, recurrent, ring_attention, zigzag
from tinyattn.parallel.agree import agreed
from tinyattn.parallel.messages import total

SCHEMES: dict[str, Callable[[int, int], Layout]] = {"ring": zigzag, "heads": zigzag, "states": contiguous}


def sharded(decoder: Decoder, scheme: str, comm: Any, layout: Layout, **options: Any) -> Decoder:
    """Returns the decoder as each rank calls it, with its tokens and their positions; the attention is over all ranks.

    `scheme` is "ring" or "heads" for a decoder of attention, "states" for one of the linear family. `options` are further ones of
    the scheme, such as a mask of the packed documents by their positions.

    Raises:
        ValueError: another scheme, or a scheme for another mechanism than the decoder's. TypeError: layers that have no mechanism.

    >>> from tinyattn.models.config import DecoderConfig
    >>> from tinyattn.parallel import threads
    >>> config, layout = DecoderConfig(width=8, layers=1, heads=2, hidden=8), zigzag(6, 2)
    >>> decoder, tokens = Decoder.create(config, np.random.default_rng(0)), np.arange(6)[None]
    >>> def program(comm):
    ...     mine = layout.positions(comm.Get_rank())
    ...     return sharded(decoder, "ring", comm, layout)(tokens[:, mine], positions=mine[None])
    >>> [logits.shape for logits in threads.run(2, program)]
    [(1, 3, 256), (1, 3, 256)]
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")

    def over_ranks(mechanism: Callable[..., Any]) -> Callable[..., Any]:
        known = inspect.signature(mechanism).parameters
        softmax = {"softcap", "sinks"} <= set(known)
        if softmax != (scheme != "states"):
            wants = "attention" if scheme != "states" else "a mechanism of the linear family"
            raise ValueError(f"scheme: {scheme} is for a decoder of {wants}, got one of {getattr(mechanism, '__name__', mechanism)}")
        if softmax:
            return partial({"ring": ring_attention, "heads": head_parallel_attention}[scheme], comm=comm, layout=layout, **options)
        normalised = "normalize" in known
        run = partial(mechanism, causal=True, normalize=False) if normalised else partial(mechanism, causal=True)

        def states(q: Array, k: Array, v: Array, *, causal: bool, **gates: Array) -> Array:
            made: Array = recurrent(run, q, k, v, gates, None, comm, layout, normalize=normalised)
            return made

        return states

    return with_mechanisms(decoder, over_ranks)


def with_mechanisms(decoder: Decoder, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Decoder:
    """Returns the decoder with the mechanism of every layer changed, its arrays as they are."""
    blocks = []
    for block in decoder.blocks:
        layer = block.attention
        if not isinstance(layer, SelfAttention):
            raise TypeError(f"decoder: expected layers of SelfAttention, which are given their mechanism, got {type(layer).__name__}")
        blocks.append(replace(block, attention=replace(layer, mechanism=change(layer.mechanism))))
    return replace(decoder, blocks=tuple(blocks))


def sharded_loss(decoder: Decoder, tokens: Array, targets: Array, comm: Any, layout: Layout, *, ignore: int | None = None) -> Array:
    """Returns what this rank adds to the mean cross-entropy over the targets of all ranks; the sum over the ranks is the loss.

    The mean is over all targets, whatever the shards are: a mean of the means of ranks would weigh a target on a rank with few of
    them more than others. A rank without a target adds 0 and takes part in the backward. Targets equal to `ignore` do not count.

    Raises:
        ValueError: on every rank, where none of them has a target.
    """
    def checked() -> tuple[dict[str, Any], None]:
        counts = targets.size if ignore is None else int(np.count_nonzero(targets != ignore))
        return {"targets_here": counts}, None

    _, facts = agreed(comm, checked, "sharded_loss")
    count = sum(theirs["targets_here"] for theirs in facts)
    if not count:
        raise ValueError("targets: expected at least one on one of the ranks, besides those that are ignored")
    logits = decoder(tokens, positions=np.broadcast_to(layout.positions(comm.Get_rank()), tokens.shape))
    counted = np.ones(targets.shape, bool) if ignore is None else targets != ignore
    rows = log_softmax(logits.reshape(-1, logits.shape[-1]))
    picked = rows[np.arange(targets.size), np.where(counted, targets, 0).reshape(-1)]
    lost: Array = -(picked * counted.reshape(-1).astype(rows.dtype)).sum() / count
    return lost


def summed_over(comm: Any, step_of: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that sums (loss, gradients) over all ranks, the same bits on each, of one that gives a rank's own."""
    def everywhere(model: Any, *batch: Any) -> Any:
        value, gradients = step_of(model, *batch)
        found = [leaf for leaf in leaves(gradients) if differentiable(leaf)]
        whole = total(comm, np.concatenate([np.reshape(x, -1) for x in (value, *found)]))
        parts = iter(np.split(whole[1:], np.cumsum([leaf.size for leaf in found])[:-1]))
        return float(whole[0]), map_tree(lambda leaf: next(parts).reshape(leaf.shape) if differentiable(leaf) else leaf, gradients)

    return everywhere


def train_sharded(decoder: Decoder, text: Array, *, steps: int, context: int, batch: int, rng: np.random.Generator, comm: Any,
                  scheme: str, peak: float = 3e-3, state: AdamW | None = None) -> Iterator[Step[Decoder]]:
    """Yields a Step after each step of a training over all ranks, with the losses of `train` within its rounding.

    Every rank gives the same arguments: all draw the same batch and read their own tokens of it, and all make the same step.

    >>> from tinyattn.models.config import DecoderConfig
    >>> from tinyattn.parallel import threads
    >>> config, text = DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.arange(64, dtype=np.uint8)
    >>> decoder = Decoder.create(config, np.random.default_rng(0))
    >>> def program(comm):
    ...     given = {"steps": 2, "context": 8, "batch": 2, "rng": np.random.default_rng(0), "comm": comm, "scheme": "ring"}
    ...     return [round(step.loss, 1) for step in train_sharded(decoder, text, **given)]
    >>> threads.run(2, program)
    [[5.5, 5.5], [5.5, 5.5]]
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
    layout = SCHEMES[scheme](context, comm.Get_size())
    own = layout.positions(comm.Get_rank())

    def draw() -> tuple[Array, ...]:
        return tuple(x[:, own] for x in batch_of(text, context=context, batch=batch, rng=rng))

    def loss(model: Decoder, tokens: Array, targets: Array) -> Array:
        return sharded_loss(sharded(model, scheme, comm, layout), tokens, targets, comm, layout)

    sharded(decoder, scheme, comm, layout)  # another mechanism is refused before the first step
    return descend(decoder, loss, draw, AdamW.create(decoder) if state is None else state, steps=steps, peak=peak,
                   gradient=lambda f: summed_over(comm, value_and_grad(f)))
