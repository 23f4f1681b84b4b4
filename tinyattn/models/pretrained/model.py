"""A loaded model: it writes texts, says how likely a text is and what its heads look at, and takes another attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.protocol import Cache
from tinyattn.caches.room import check_room
from tinyattn.caches.rows import release
from tinyattn.layers.trained_attention import TrainedAttention
from tinyattn.models.decoder import check_tokens
from tinyattn.models.generate import choosers, made_by
from tinyattn.models.given import check_caches
from tinyattn.models.pretrained.losses import of_targets
from tinyattn.models.pretrained.pooling import Pooling
from tinyattn.models.pretrained.tokens import Bytes, Tokenizer
from tinyattn.models.pretrained.transformer import Transformer
from tinyattn.models.pretrained.weights import check_finite, weight_bytes
from tinyattn.ops.checks import index_array, truth, whole
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.positions.frequencies import Frequencies
from tinyattn.ops.types import Array

# Tokens whose logits are computed at once: those of 512 tokens of a vocabulary of 50,000 take 100 MB.
AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Model:
    """A model from a file: `model(tokens)` gives the logits (..., length, vocab) of tokens (..., length).

    `context` is the length that the model was trained for, or None; a longer text is computed with a warning. `end` are the
    tokens that end a text. `read` gives the tokenizer, which is made when it is first needed.

    >>> import tempfile; from tinyattn.models import Decoder, DecoderConfig, load, save_training
    >>> config, path = DecoderConfig(width=8, layers=1, heads=2, hidden=8), tempfile.mkdtemp() + "/model.safetensors"
    >>> save_training(path, Decoder.create(config, np.random.default_rng(0)), config, mechanism="attention")
    >>> load(path).attention_weights("abc", layer=0).shape
    (2, 3, 3)
    """

    network: Transformer
    name: str
    context: int | None
    end: frozenset[int]
    read: Callable[[], Tokenizer | Bytes] = field(repr=False)
    weights: Mapping[str, Stored] = field(default_factory=dict, repr=False)
    pooling: Pooling | None = None

    @property
    def tokenizer(self) -> Tokenizer | Bytes:
        """The model's tokenizer.

        Raises:
            ModuleNotFoundError: the library that it needs is not installed. ValueError: the file has none, or one that is not
                known, or its vocabulary is larger than the embedding.
        """
        made, rows = self.read(), self.network.embedding.shape[0]
        if made.vocab > rows:
            raise ValueError(f"{self.name}: the tokenizer has {made.vocab} tokens and the embedding {rows}")
        return made

    @property
    def nbytes(self) -> int:
        """The bytes of all weights, as they are stored."""
        return weight_bytes(self.network)

    def tokens(self, text: str | Array) -> Array:
        """Returns a text as tokens (1, length); tokens (length,) are taken as they are.

        Raises:
            TypeError, ValueError: neither a string nor an array of one axis, or no tokens, or a tokenizer that gives others than the
                embedding has. IndexError: tokens outside the vocabulary.
        """
        found = self.tokenizer.encode(text) if isinstance(text, str) else index_array("text", text)
        if found.ndim != 1 or not len(found):
            raise ValueError(f"text: expected a string or tokens (length,), at least one, got shape {found.shape}")
        rows = self.network.embedding.shape[0]
        if isinstance(text, str) and not 0 <= found.min() <= found.max() < rows:
            raise ValueError(f"{self.name}: the tokenizer gives {found.min()} to {found.max()}, and the embedding has {rows} tokens")
        return check_tokens(found[None], rows, "text")

    def __call__(self, tokens: Array, *, caches: Sequence[Cache] | None = None) -> Array:
        tokens = index_array("tokens", tokens)
        rows = tokens[None] if tokens.ndim == 1 else tokens
        if caches is not None:
            check_caches(caches, len(self.network.blocks))
        logits = self._checked(self.network(self._fitting(rows, caches), caches=caches))
        return logits[0] if tokens.ndim == 1 else logits

    def _fitting(self, tokens: Array, caches: Sequence[Cache] | None = None) -> Array:
        """Returns the tokens; warns once per text if it becomes longer than the model was trained for."""
        start = caches[0].length if caches else 0
        if self.context is not None and start <= self.context < start + tokens.shape[-1]:
            warnings.warn(f"{self.name}: the text is longer than the {self.context} tokens that the model was trained for",
                          stacklevel=3)
        return tokens

    def _checked(self, out: Array) -> Array:
        """Returns what the model computed; where it is not finite, raises ValueError that names the weights that are not."""
        if not np.isfinite(out).all():
            check_finite(self.weights)
        return out

    def generate(self, prompt: str | Array, tokens: int, rng: np.random.Generator | None = None, *, temperature: float = 0.0,
                 top_k: int | None = None, top_p: float | None = None,
                 cache: Callable[[], Cache] | None = GrowingCache) -> Iterator[int]:
        """Returns an iterator over at most `tokens` tokens that continue a prompt, up to one that ends a text.

        `cache` makes one cache per layer; with None every token is computed from the whole text. `model.tokenizer.stream` gives
        their text. The options of sampling are those of `tinyattn.models.generate`.

        Raises:
            TypeError, ValueError: a prompt without tokens, options out of range, no Generator above temperature 0, caches without
                room, a GrowingCache beside a mechanism that was replaced, an encoder.
        """
        written, tokens = self.tokens(prompt), whole("tokens", tokens, 0)
        if self.network.head is None:
            raise ValueError(f"{self.name}: an encoder writes no text; embed gives its vectors")
        choose, = choosers(rng, 1, temperature, top_k, top_p)
        make = partial(self._caches, cache, written.shape[1] + tokens - 1)
        return self._write_on(written, tokens, choose, make(), make)

    def _caches(self, cache: Callable[[], Cache] | None, length: int) -> list[Cache] | None:
        """Returns one cache per layer with room for so many tokens, or None for None."""
        if cache is None:
            return None
        replaced = [i for i, block in enumerate(self.network.blocks)
                    if getattr(block.attention, "mechanism", None) is not fastest.attention]
        if cache is GrowingCache and replaced:
            raise ValueError(f"cache: a GrowingCache computes attention, and the mechanism of layer {replaced[0]} is another; give "
                             f"cache=None, which computes the whole text for every token, or a cache of that mechanism")
        made = made_by(cache, len(self.network.blocks))
        check_room((held, length) for held in made)
        return made

    def _write_on(self, text: Array, tokens: int, choose: Callable[[Array], Array], caches: list[Cache] | None,
                  make: Callable[[], list[Cache] | None]) -> Iterator[int]:
        """Yields tokens that follow text (1, length), which no cache holds yet; `make` replaces caches that are no longer valid."""
        written = text
        try:
            for _ in range(tokens):
                if caches and not self.network.reads_alike(caches[0].length, caches[0].length + text.shape[1]):
                    release(caches)
                    caches, text = make(), written
                last = self.network.hidden(self._fitting(text, caches), caches=caches)[:, -1]
                fresh = choose(self._checked(self.network.logits(last)))[:, None]
                written = np.concatenate((written, fresh), axis=1)
                text = written if caches is None else fresh
                yield int(fresh[0, 0])
                if int(fresh[0, 0]) in self.end:
                    return
        finally:
            release(caches or ())

    def logits_of(self, text: str | Array, *, cache: Callable[[], Cache] | None = None) -> Iterator[tuple[int, Array]]:
        """Yields (start, logits (n, vocab)) of the tokens of a text, some at a time; through a cache one token at a time."""
        tokens = self._fitting(self.tokens(text))
        length = tokens.shape[1]
        caches, network = self._caches(cache, length), self.network.of_length(length)
        if caches is None:
            hidden = network.hidden(tokens)[0]
            for start in range(0, length, AT_ONCE):
                yield start, self._checked(network.logits(hidden[start : start + AT_ONCE]))
            return
        try:
            for start in range(length):
                yield start, self._checked(network(tokens[:, start : start + 1], caches=caches)[0])
        finally:
            release(caches)

    def losses(self, text: str | Array, *, cache: Callable[[], Cache] | None = None) -> Array:
        """Returns -log p of every token of a text but the first, in nats (length - 1,) of float64.

        Raises:
            ValueError: a text of fewer than two tokens.
        """
        tokens = self.tokens(text)[0]
        if len(tokens) < 2:
            raise ValueError(f"text: expected at least two tokens, so that one of them is predicted, got {len(tokens)}")
        return np.concatenate([of_targets(logits, tokens[start + 1 : start + 1 + len(logits)])
                               for start, logits in self.logits_of(tokens, cache=cache)])

    def loss(self, text: str | Array, *, cache: Callable[[], Cache] | None = None) -> float:
        """Returns the mean of `losses`: nats per token."""
        return float(self.losses(text, cache=cache).mean())

    def replace(self, *, mechanism: Callable[..., Any] | None = None, positions: Frequencies | None = None, rotate: bool = True,
                layers: Sequence[int] | None = None) -> Model:
        """Returns the model with another mechanism or other rotary frequencies in these layers, or in all.

        `mechanism(q, k, v, **options)` is called as `tinyattn.attention` would be, with causal, scale, window and softcap as the
        model has them. `rotate=False` is for a mechanism that rotates queries and keys itself.

        Raises:
            TypeError, ValueError: a layer that the model does not have or that is built differently, positions that are no
                `Frequencies`.
        """
        if positions is not None and not isinstance(positions, Frequencies):
            raise TypeError(f"positions: expected Frequencies, got {type(positions).__name__}")
        count, rotate = len(self.network.blocks), truth("rotate", rotate)
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Sequence)):
            raise TypeError(f"layers: expected a list of layers or None, got {type(layers).__name__}")
        chosen = set(range(count)) if layers is None else {whole("layers", layer, 0, count - 1) for layer in layers}
        changed: dict[str, Any] = {} if mechanism is None else {"mechanism": mechanism}
        if positions is not None or not rotate:
            changed["frequencies"] = positions if rotate else None
        blocks = tuple(replace(block, attention=replace(self.attention(i), **changed)) if i in chosen else block
                       for i, block in enumerate(self.network.blocks))
        return replace(self, network=replace(self.network, blocks=blocks))

    def attention(self, layer: int) -> TrainedAttention:
        """Returns the attention of a layer.

        Raises:
            TypeError, ValueError: a layer that the model does not have, or one that mixes its tokens in another way.
        """
        found = self.network.blocks[whole("layer", layer, 0, len(self.network.blocks) - 1)].attention
        if not isinstance(found, TrainedAttention):
            raise ValueError(f"layer: layer {layer} of {self.name} mixes its tokens by another mechanism than attention")
        return found

    def attention_weights(self, text: str | Array, layer: int) -> Array:
        """Returns the weights (heads, length, length) with which the tokens of a text look at each other in a layer."""
        attention = self.attention(layer)
        tokens, block = self._fitting(self.tokens(text)), self.network.blocks[layer]
        x = self.network.hidden(tokens, layers=layer)
        q, k, _ = attention.parts(x if block.order == "after" else block.attention_norm(x))
        return definitions.attention_weights(q, k, causal=self.network.causal, **attention.options)[0]

    def embed(self, texts: str | Iterable[str]) -> Array:
        """Returns one vector per text (texts, width), by the pooling of the model.

        Raises:
            ValueError: a model that is no encoder.
        """
        if self.pooling is None:
            raise ValueError(f"{self.name}: no encoder; embed needs one, such as a BERT with its pooling")
        each = [texts] if isinstance(texts, str) else texts
        vectors = [self.pooling(self.network(self._fitting(self.tokens(text)))[0]) for text in each]
        empty = np.zeros((0, self.network.embedding.shape[1]), self.network.dtype)
        return self._checked(np.stack(vectors)) if vectors else empty
