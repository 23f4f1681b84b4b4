"""A text that is read once and continued many times, such as the system prompt of a chat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tinyattn.caches.protocol import Cache
from tinyattn.caches.room import check_room
from tinyattn.caches.rows import release
from tinyattn.models.decoder import Decoder
from tinyattn.models.generate import check_prompt, choosers, make_caches, write_on
from tinyattn.models.given import check_caches
from tinyattn.ops.checks import whole


@dataclass(frozen=True, eq=False)
class Prefix:
    """A text and the caches that hold it. They never change, as every continuation is written to forks of them.

    A prefix is continued by the same bytes as its text would be if it were read again.

    >>> from tinyattn.caches import GrowingCache
    >>> from tinyattn.models.config import DecoderConfig
    >>> from tinyattn.models.generate import generate
    >>> decoder = Decoder.create(DecoderConfig(layers=1), np.random.default_rng(0)).astype(np.float64)
    >>> system = Prefix.read(decoder, b"Be brief. ", GrowingCache)
    >>> [*system.generate(b"Why?", 3)] == [*generate(decoder, b"Be brief. Why?", 3)]
    True
    """

    decoder: Decoder
    text: bytes
    caches: tuple[Cache, ...]

    def __post_init__(self) -> None:
        check_prompt(self.decoder, self.text, "text")
        check_caches(self.caches, len(self.decoder.blocks))
        for number, cache in enumerate(self.caches):
            if cache.length != len(self.text):
                raise ValueError(f"caches[{number}]: expected the {len(self.text)} tokens of the text, got {cache.length}")

    @classmethod
    def read(cls, decoder: Decoder, text: bytes, cache: Callable[[], Cache]) -> Prefix:
        """Returns the prefix of a text, read into one cache per layer.

        Raises:
            TypeError, ValueError: a text that is not a prompt, or has more tokens than the caches have room for.
        """
        tokens = check_prompt(decoder, text, "text")
        caches = make_caches(decoder, cache, len(text))
        decoder(tokens, caches=caches)
        return cls(decoder, text, tuple(caches))

    def extended(self, text: bytes) -> Prefix:
        """Returns the prefix of this text followed by another, such as the next turn of a chat; this prefix stays as it is."""
        tokens = check_prompt(self.decoder, text, "text")
        caches = self._forks(len(text))
        self.decoder(tokens, caches=caches)
        return Prefix(self.decoder, self.text + text, tuple(caches))

    def generate(self, prompt: bytes, tokens: int, rng: np.random.Generator | None = None, *, temperature: float = 0.0,
                 top_k: int | None = None, top_p: float | None = None) -> Iterator[int]:
        """Yields `tokens` bytes that continue this text followed by the prompt; the options are those of `generate`."""
        written = check_prompt(self.decoder, prompt)
        tokens = whole("tokens", tokens, 0)
        choose, = choosers(rng, 1, temperature, top_k, top_p)
        return write_on(self.decoder, written, tokens, choose, self._forks(len(prompt) + tokens - 1))

    def free(self) -> None:
        """Gives the pages of the caches back to their pool."""
        release(self.caches)

    def _forks(self, more: int) -> list[Cache]:
        forks = [cache.fork() for cache in self.caches]
        check_room((fork, len(self.text) + more) for fork in forks)
        return forks
