"""What a change of a model costs: the loss of a text, and how far the probabilities of each next token move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.protocol import Cache
from tinyattn.models.pretrained.model import Model
from tinyattn.ops.checks import whole
from tinyattn.ops.masks import first, sliding_window
from tinyattn.ops.positions.frequencies import (
    Frequencies,
    FrequenciesByLength,
    linear_frequencies,
    ntk_frequencies,
    plain_frequencies,
    yarn_frequencies,
)
from tinyattn.ops.softmax import log_softmax
from tinyattn.ops.types import Array


class Token(NamedTuple):
    """A token under two models: its loss in nats by each, KL(model || changed), and whether both find the same token likeliest."""

    loss: float
    changed: float
    divergence: float
    agrees: bool


def compared(model: Model, changed: Model, text: str | Array, *, cache: Callable[[], Cache] | None = None) -> Iterator[Token]:
    """Yields a Token for every token of a text but the first: by the model, and by the changed one, through a cache if given.

    Raises:
        ValueError: a text of fewer than two tokens.
    """
    tokens = model.tokens(text)[0]
    if len(tokens) < 2:
        raise ValueError(f"text: expected at least two tokens, so that one of them is predicted, got {len(tokens)}")
    rows = (chain.from_iterable(logits for _, logits in one.logits_of(tokens, cache=through))
            for one, through in ((model, None), (changed, cache)))
    for target, plain, other in zip(tokens[1:], *rows, strict=False):
        log_p, log_q = log_softmax(plain.astype(np.float64)), log_softmax(other.astype(np.float64))
        p = np.exp(log_p)
        yield Token(-float(log_p[target]), -float(log_q[target]), max(0.0, float(np.sum(p * (log_p - log_q)))),
                    bool(plain.argmax() == other.argmax()))


def check_kept(window: int, first: int) -> tuple[int, int]:
    """Returns a window and how many first tokens it keeps; ValueError unless it holds more tokens than these."""
    first, window = whole("first", first, 0), whole("window", window, 1)
    if first >= window:
        raise ValueError(f"window: expected more than the {first} first tokens that are kept, got {window}")
    return window, first


def windowed(model: Model, window: int, keep: int) -> Model:
    """Returns the model whose tokens see `window` tokens: the first `keep`, and the last ones, themselves included. arXiv:2309.17453.

    Raises:
        TypeError, ValueError: numbers that are not ints, or a window that is not longer than `keep`.
    """
    window, keep = check_kept(window, keep)
    pattern = sliding_window(window - keep)
    return model.replace(mechanism=partial(fastest.attention, mask=pattern | first(keep) if keep else pattern))


def base_of(model: Model) -> tuple[int, float]:
    """Returns how many channels of a head are rotated, and the base of their frequencies.

    Raises:
        ValueError: a model without rotary positions, or one that scales them already.
    """
    given = model.attention(0).frequencies
    if isinstance(given, FrequenciesByLength):
        raise ValueError(f"positions: {model.name} scales its rotary positions already")
    if given is None or len(given.values) < 2:
        raise ValueError(f"positions: {model.name} has no rotary positions to scale")
    dims = 2 * len(given.values)
    base = float(given.values[1]) ** (-dims / 2)
    if given.attention_factor != 1.0 or not np.allclose(plain_frequencies(dims, base=base).values, given.values, rtol=1e-9, atol=0.0):
        raise ValueError(f"positions: {model.name} scales its rotary positions already")
    return dims, base


def extended(model: Model, kind: str, factor: float) -> Model:
    """Returns the model with its positions scaled for texts `factor` times as long: linear, ntk, yarn or dual-chunk.

    dual-chunk takes chunks of three quarters of the trained length, whatever the factor. arXiv:2306.15595, 2309.00071, 2402.17463.

    Raises:
        ValueError: another kind, a model without rotary positions or without a trained length.
    """
    dims, base = base_of(model)
    if kind in ("yarn", "dual-chunk") and model.context is None:
        raise ValueError(f"positions: {kind} needs the length that {model.name} was trained for, and its file does not say it")
    if kind == "dual-chunk":
        attention = model.attention(0)
        if dims != attention.q.weight.shape[0] // attention.heads:
            raise ValueError(f"positions: dual-chunk rotates whole heads, and {model.name} rotates a part of each")
        part = max((model.context or 0) // 4, 1)
        return model.replace(mechanism=dual_chunk(3 * part, part, base, attention.interleaved), rotate=False)
    makers: dict[str, Callable[[], Frequencies]] = {
        "linear": lambda: linear_frequencies(dims, factor=factor, base=base),
        "ntk": lambda: ntk_frequencies(dims, factor=factor, base=base),
        "yarn": lambda: yarn_frequencies(dims, factor=factor, original_length=model.context or 1, base=base)}
    if kind not in makers:
        raise ValueError(f"positions: expected one of {', '.join(makers)} or dual-chunk, got {kind!r}")
    return model.replace(positions=makers[kind]())


def dual_chunk(chunk: int, local: int, base: float, interleaved: bool) -> Callable[..., Array]:
    """Returns dual chunk attention as a mechanism of a model; it is always causal."""
    def mechanism(q: Array, k: Array, v: Array, *, causal: bool = True, **options: Any) -> Array:
        return fastest.dual_chunk_attention(q, k, v, chunk=chunk, local=local, base=base, interleaved=interleaved, **options)

    mechanism.__doc__ = definitions.dual_chunk_attention.__doc__
    return mechanism
