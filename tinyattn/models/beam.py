"""Beam search: the likeliest continuations, found by extending only the few likeliest so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tinyattn.caches.protocol import Cache
from tinyattn.caches.room import check_room
from tinyattn.caches.rows import release
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import check_prompt, made_by
from tinyattn.models.sampling import check_logits
from tinyattn.ops.checks import whole
from tinyattn.ops.softmax import log_softmax
from tinyattn.ops.types import Array


class Beams(NamedTuple):
    """Continuations (beams, tokens), the likeliest first, and the log-probability of each (beams,).

    >>> Beams(np.array([[97, 98]]), np.array([-1.5])).scores
    array([-1.5])
    """

    tokens: Array
    scores: Array


def beam_search(decoder: Decoder, prompt: bytes, tokens: int, *, beams: int, cache: Callable[[], Cache] | None = None) -> Beams:
    """Returns the likeliest continuations that a search of this width finds; with one beam that is the greedy one.

    Every step extends all kept continuations by every token and keeps the `beams` likeliest, the earlier of equal ones. The
    caches, one per layer, are reordered to the kept rows. With as many beams as there are continuations none is missed.

    Raises:
        TypeError, ValueError: beams below 1; otherwise as `generate`.

    >>> from tinyattn.models.generate import generate
    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> beam_search(decoder, b"ab", 3, beams=1).tokens[0].tolist() == [*generate(decoder, b"ab", 3)]
    True
    """
    text = check_prompt(decoder, prompt)
    tokens = whole("tokens", tokens, 0)
    beams = whole("beams", beams, 1)
    caches = None if cache is None else made_by(cache, len(decoder.blocks))
    check_room(((made, text.shape[1] + tokens - 1) for made in caches or ()), beams=beams, shared=text.shape[1])
    try:
        return search(decoder, text, tokens, beams, caches)
    finally:
        release(caches or ())


def search(decoder: Decoder, text: Array, tokens: int, beams: int, caches: Sequence[Cache] | None) -> Beams:
    """Returns the beams behind text (1, length), which the caches do not hold yet."""
    scores, fresh, start = np.zeros(1), text, text.shape[1]
    for _ in range(tokens):
        logits = decoder(text if caches is None else fresh, caches=caches)[:, -1]
        totals = scores[:, None] + log_softmax(check_logits(logits))
        best = np.argsort(-totals, axis=None, kind="stable")[:beams]
        parents, chosen = np.divmod(best, totals.shape[1])
        scores, fresh = totals.reshape(-1)[best], chosen[:, None]
        text = np.concatenate((text[parents], fresh), axis=1)
        for kept in caches or ():
            kept.reorder(parents)
    return Beams(text[:, start:], scores)
