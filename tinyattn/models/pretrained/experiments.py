"""Claims of papers, measured on a loaded model: first tokens that are kept, caches in few bits, texts beyond the trained length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.quantized import QuantizedCache
from tinyattn.models.pretrained.compared import base_of, check_kept, compared, extended, windowed
from tinyattn.models.pretrained.model import Model
from tinyattn.ops.types import Array

# The scalings of positions that are compared beyond the trained length.
KINDS = ("linear", "ntk", "yarn", "dual-chunk")


class Kept(NamedTuple):
    """The loss in nats per token where tokens see `window` tokens, of which `first` are the first of the text.

    `loss` is with the distances of the text, `rebased` with those within a cache of `window` tokens.
    """

    window: int
    first: int
    loss: float
    rebased: float


def first_tokens(model: Model, text: str | Array, windows: Sequence[int], firsts: Sequence[int]) -> Iterator[Kept]:
    """Yields a Kept for each window and number of first tokens: the loss over the second half of a text. arXiv:2309.17453.

    Raises:
        TypeError, ValueError: as `windowed` and `streaming` refuse the numbers or the model; a text of fewer than two tokens.
    """
    tokens = model.tokens(text)[0]
    for window in windows:
        for first in firsts:
            losses = (second_half(changed, tokens) for changed in (windowed(model, window, first), streaming(model, window, first)))
            yield Kept(window, first, *losses)


def second_half(model: Model, text: str | Array) -> float:
    """Returns the mean loss over the second half of a text, whose tokens have many tokens before them."""
    losses = model.losses(text)
    return float(losses[len(losses) // 2 :].mean())


def streaming(model: Model, window: int, first: int) -> Model:
    """Returns the model as it decodes through a cache of `window` tokens, the first and the last ones, with positions in the cache.

    Raises:
        TypeError, ValueError: numbers that are not ints, a window that is not longer than `first`, a model that does not rotate
            whole heads by plain frequencies, in halves.
    """
    window, first = check_kept(window, first)
    (dims, base), attention = base_of(model), model.attention(0)
    if attention.interleaved or dims != attention.q.weight.shape[0] // attention.heads:
        raise ValueError(f"positions: {model.name} does not rotate the halves of whole heads")

    def mechanism(q: Array, k: Array, v: Array, *, causal: bool = True, **options: Any) -> Array:
        return fastest.streaming_llm_attention(q, k, v, first=first, window=window - first, base=base, **options)

    mechanism.__doc__ = definitions.streaming_llm_attention.__doc__
    return model.replace(mechanism=mechanism, rotate=False)


class Coded(NamedTuple):
    """What a cache in `bits` bits costs: losses in nats per token, mean KL, share of equal best tokens, bytes of all layers."""

    bits: int
    loss: float
    changed: float
    divergence: float
    agreement: float
    nbytes: int
    plain_nbytes: int


def coded_caches(model: Model, text: str | Array, *, bits: Sequence[int] = (8, 4), group: int = 32,
                 residual: int = 32) -> Iterator[Coded]:
    """Yields a Coded for each number of bits: the model as it is, beside decoding through a `QuantizedCache`. arXiv:2402.02750.

    Raises:
        TypeError, ValueError: settings that `QuantizedCache` refuses, a text of fewer than two tokens.
    """
    tokens = model.tokens(text)[0]
    for each in bits:
        made: list[QuantizedCache] = []

        def make(bits: int = each, made: list[QuantizedCache] = made) -> QuantizedCache:
            made.append(QuantizedCache(bits=bits, group=group, residual=residual))
            return made[-1]

        found = [*compared(model, model, tokens, cache=make)]
        loss, changed, divergence, agreement = (float(mean) for mean in np.array(found, np.float64).mean(axis=0))
        plain = sum(array.nbytes for cache in made for array in cache.view()[:2])
        yield Coded(each, loss, changed, divergence, agreement, sum(cache.nbytes for cache in made), plain)


class Beyond(NamedTuple):
    """The losses in nats per token of one way to read a long text: a mean for each range of positions."""

    kind: str
    losses: tuple[float, ...]


def beyond(model: Model, text: str | Array, edges: Sequence[int], *, kinds: Sequence[str] = KINDS) -> Iterator[Beyond]:
    """Yields a Beyond for the model as it is, for a window of its trained length, and for scalings of its positions.

    The ranges of positions lie between `edges`; scalings are for the length of the text. arXiv:2306.15595, 2309.00071, 2402.17463.

    Raises:
        ValueError: a model without a trained length or without rotary positions, a text that is not longer than that length.
    """
    tokens = model.tokens(text)[0]
    if model.context is None or len(tokens) <= model.context:
        raise ValueError(f"text: expected more tokens than {model.name} was trained for, {model.context}, got {len(tokens)}")
    factor = len(tokens) / model.context
    yield ranges(model, "plain", tokens, edges)
    yield ranges(windowed(model, model.context, 0), "window", tokens, edges)
    for kind in kinds:
        yield ranges(extended(model, kind, factor), kind, tokens, edges)


def ranges(model: Model, kind: str, tokens: Array, edges: Sequence[int]) -> Beyond:
    """Returns the mean losses between edges; that the text is longer than the trained length is known here, so nothing warns."""
    losses = replace(model, context=None).losses(tokens)
    return Beyond(kind, tuple(float(losses[start:stop].mean()) for start, stop in pairwise(edges)))
