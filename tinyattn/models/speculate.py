"""Speculative decoding: a small model proposes tokens, the large one reads them all at once and keeps those it agrees with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from tinyattn.caches.protocol import Cache
from tinyattn.caches.room import check_room
from tinyattn.caches.rows import release
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import check_prompt, made_by
from tinyattn.models.given import check_given
from tinyattn.models.sampling import check_drawing, check_options, draw, probabilities
from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array

Pick = Callable[[Array], Array]


def speculate(decoder: Decoder, draft: Decoder, prompt: bytes, tokens: int, rng: np.random.Generator | None = None, *,
              ahead: int = 4, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
              cache: Callable[[], Cache], draft_cache: Callable[[], Cache] | None = None) -> Iterator[int]:
    """Yields what `generate` yields, in fewer passes of the decoder: the draft proposes `ahead` tokens at a time.

    At temperature 0 these are the greedy tokens of the decoder, whatever the draft proposes; above it they follow the
    distribution of the decoder. Rejected tokens are truncated from the caches, one per layer; a cache that cannot truncate
    so many tokens raises.

    Raises:
        TypeError, ValueError: ahead below 1, a draft of another vocabulary; otherwise as `generate`.

    Paper: Leviathan, Kalman and Matias 2022, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318.

    >>> from tinyattn.caches import GrowingCache
    >>> from tinyattn.models.generate import generate
    >>> from tinyattn.models.config import DecoderConfig
    >>> decoder = Decoder.create(DecoderConfig(width=8, layers=1, heads=2, hidden=8), np.random.default_rng(0))
    >>> [*speculate(decoder, decoder, b"ab", 5, cache=GrowingCache)] == [*generate(decoder, b"ab", 5)]
    True
    """
    text = [*check_prompt(decoder, prompt)[0].tolist()]
    tokens = whole("tokens", tokens, 0)
    ahead = whole("ahead", ahead, 1)
    check_given("draft", draft, "a Decoder", "embedding", "blocks")
    sizes = decoder.embedding.shape[0], draft.embedding.shape[0]
    if sizes[0] != sizes[1]:
        raise ValueError(f"draft: expected the decoder's vocabulary of {sizes[0]}, got one of {sizes[1]}")
    room = len(text) + tokens - 1
    caches = made_by(cache, len(decoder.blocks))
    draft_caches = made_by(cache if draft_cache is None else draft_cache, len(draft.blocks), "draft_cache")
    check_room((made, room) for made in (*caches, *draft_caches))
    check_options(temperature, top_k, top_p)
    check_drawing(rng, temperature)
    share = partial(probabilities, temperature=temperature, top_k=top_k, top_p=top_p)
    pick = likeliest if temperature == 0.0 else partial(draw, rng=rng)
    return rounds(decoder, draft, text, tokens, ahead, share, pick, caches, draft_caches)


def likeliest(share: Array) -> Array:
    """Returns the index of the largest share, which is the choice at temperature 0."""
    return np.argmax(share, axis=-1)


def rounds(decoder: Decoder, draft: Decoder, text: list[int], tokens: int, ahead: int, share: Pick, pick: Pick,
           caches: Sequence[Cache], draft_caches: Sequence[Cache]) -> Iterator[int]:
    """Yields the tokens of round after round; after each round the caches of both models hold accepted tokens only."""
    try:
        while tokens > 0:
            proposed, guesses = propose(draft, text, min(ahead, tokens - 1), share, pick, draft_caches)
            fresh = [*text[caches[0].length :], *proposed]
            logits = decoder(np.array([fresh]), caches=caches)[0, len(fresh) - len(proposed) - 1 :]
            said = judge(proposed, guesses, share(logits), pick)
            text, tokens = text + said, tokens - len(said)
            for kept in (*caches, *draft_caches):
                kept.truncate(min(kept.length, len(text) - 1))
            yield from said
    finally:
        release((*caches, *draft_caches))


def propose(draft: Decoder, text: list[int], count: int, share: Pick, pick: Pick, caches: Sequence[Cache],
            ) -> tuple[list[int], list[Array]]:
    """Returns the tokens by which the draft continues the text, and the shares from which it picked each of them."""
    proposed: list[int] = []
    guesses: list[Array] = []
    for _ in range(count):
        fresh = [*text, *proposed][caches[0].length :]
        guesses.append(share(draft(np.array([fresh]), caches=caches)[0, -1]))
        proposed.append(int(pick(guesses[-1])))
    return proposed, guesses


def judge(proposed: Sequence[int], guesses: Sequence[Array], shares: Array, pick: Pick) -> list[int]:
    """Returns the proposed tokens before the first rejected one, and one token more; each follows its row of `shares`.

    A token that the draft picked with probability g, and to which the decoder gives p, is kept with probability
    min(1, p / g). The token in the place of a rejected one follows max(0, p - g). At temperature 0 all are 0 or 1.
    """
    for at, (token, guess) in enumerate(zip(proposed, guesses, strict=True)):
        true = shares[at]
        keep = min(1.0, true[token] / guess[token])
        if not pick(np.array([1.0 - keep, keep])):
            rest = np.maximum(true - guess, 0.0)
            return [*proposed[:at], int(pick(rest if rest.any() else true))]  # rounding alone may leave nothing
    return [*proposed, int(pick(shares[-1]))]
