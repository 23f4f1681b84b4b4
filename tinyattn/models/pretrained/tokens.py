"""Texts as tokens, by the library `tokenizers`: from a tokenizer.json, or from the vocabulary and merges in a GGUF file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from tinyattn.ops.checks import text as checked_text
from tinyattn.ops.types import Array

# How a text is split before its pieces are merged, by the name in the file. The digits of a number are split into groups of at
# most so many in the expression of Llama 3, which others use too; the split of GPT-2 is the library's own.
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")
GPT_2, DIGITS_ALONE = "gpt-2", "smollm"
EXPRESSIONS = {"llama-bpe": WORDS.format(digits="{1,3}"), "qwen2": WORDS.format(digits="")}
# The kinds of tokens that stand for themselves and are never made out of the characters of a text.
CONTROL, USER_DEFINED = 3, 4
# What decoding gives for bytes that are no whole character yet.
PARTIAL = "\ufffd"


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Texts as tokens and back. `made` is a `tokenizers.Tokenizer`; `vocab` is one more than its largest token.

    `first` are tokens that stand before every text; `template` is the chat template of the model, or None.
    """

    made: Any
    vocab: int
    first: tuple[int, ...] = ()
    template: str | None = None

    @classmethod
    def of(cls, made: Any, first: tuple[int, ...] = (), template: Any = None) -> Tokenizer:
        """Returns the tokenizer around one of the library; a template that is not a string is ignored."""
        largest = max(made.get_vocab(with_added_tokens=True).values(), default=-1)
        return cls(made, largest + 1, first, template if isinstance(template, str) else None)

    def encode(self, text: str) -> Array:
        """Returns the tokens of a text, (length,) of int64.

        Raises:
            TypeError: an object that is not a string.
        """
        tokens: Array = np.array([*self.first, *self.made.encode(checked_text("text", text)).ids], np.int64)
        return tokens

    def decode(self, tokens: Array | Sequence[int]) -> str:
        """Returns the text of tokens, without those that stand for no text, such as the end of a text."""
        return str(self.made.decode([int(token) for token in tokens]))

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """Yields the text of tokens as they come; a character whose bytes are several tokens comes with the last of them."""
        return pieces(self.decode, tokens)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Returns messages, each with a role and its content, as the text that the model continues with its answer.

        Raises:
            ValueError: a model without a chat template, or a template that cannot be rendered. ModuleNotFoundError: jinja2 is not
                installed.
        """
        if self.template is None:
            raise ValueError("chat: this model has no chat template; write the prompt as a text")
        try:
            from jinja2.exceptions import TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ModuleNotFoundError:
            raise ModuleNotFoundError("chat templates need jinja2: pip install jinja2") from None
        try:
            made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(self.template)
            return made.render(messages=[dict(message) for message in messages], add_generation_prompt=True)
        except (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"chat: the model's template cannot be rendered: {' '.join(str(error).split())[:200]}") from None


@dataclass(frozen=True)
class Bytes:
    """The tokenizer of models that tinyattn trains: the tokens of a text are its bytes.

    >>> Bytes().decode(Bytes().encode("hé"))
    'hé'
    """

    vocab: int = 256

    def encode(self, text: str) -> Array:
        """Returns the tokens of a text, (length,) of int64."""
        return np.frombuffer(checked_text("text", text).encode("utf-8", "surrogateescape"), np.uint8).astype(np.int64)

    def decode(self, tokens: Array | Sequence[int]) -> str:
        """Returns the text of tokens; bytes that are not UTF-8 are replaced."""
        return bytes(int(token) for token in tokens).decode("utf-8", "replace")

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Raises ValueError: such a model has no chat template."""
        raise ValueError("chat: this model has no chat template; write the prompt as a text")

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """Yields the text of tokens as they come; a character of several bytes comes with the last of them."""
        return pieces(self.decode, tokens)


def pieces(decode: Callable[[list[int]], str], tokens: Iterable[int]) -> Iterator[str]:
    """Yields the text of tokens as they come, except of those whose characters are not complete yet.

    >>> [*pieces(Bytes().decode, "aé".encode())]
    ['a', 'é']
    """
    held: list[int] = []
    done = ""
    for token in tokens:
        held.append(token)
        text = decode(held)
        if not text.endswith(PARTIAL):
            if len(text) > len(done):
                yield text[len(done):]
            held = held[-1:]  # the text of a token may depend on the one before it
            done = decode(held)
    if held and (rest := decode(held)[len(done):]):
        yield rest


def library() -> Any:
    """Returns the library `tokenizers`; ModuleNotFoundError says how to install it."""
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the tokenizer of this model needs the library tokenizers: pip install tokenizers") from None
    return tokenizers


def tokenizer_of_file(path: Path, template: Any = None) -> Tokenizer:
    """Returns the tokenizer of a tokenizer.json, which neither truncates nor pads a text.

    Raises:
        ModuleNotFoundError: the library `tokenizers` is not installed. ValueError: a file that the library refuses.
    """
    made = by_library(path.name, lambda: library().Tokenizer.from_file(str(path)))
    made.no_truncation()
    made.no_padding()
    return Tokenizer.of(made, (), template)


def tokenizer_of_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """Returns the tokenizer of a GGUF file.

    Raises:
        ModuleNotFoundError: the library `tokenizers` is not installed. ValueError: a kind of tokenizer or a way to cut texts that
            is not known, a vocabulary or merges that are missing or do not belong together.
    """
    tokenizers = library()
    kind, cut = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if not isinstance(kind, str) or kind != "gpt2":
        raise ValueError(f"tokenizer.ggml.model: {str(kind)[:60]!r} is not known; gpt2 is")
    known = (GPT_2, DIGITS_ALONE, *EXPRESSIONS)
    if not isinstance(cut, str) or cut not in known:
        raise ValueError(f"tokenizer.ggml.pre: {str(cut)[:60]!r} is not known; {', '.join(known)} are")
    tokens, merges = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.merges")
    if not is_texts(tokens) or not is_texts(merges):
        raise ValueError("tokenizer.ggml.tokens, tokenizer.ggml.merges: expected two lists of strings")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    if not all(len(pair) == 2 for pair in pairs):
        raise ValueError("tokenizer.ggml.merges: expected two pieces with a space between them in each")
    numbers = {token: number for number, token in enumerate(tokens)}
    made = by_library("tokenizer.ggml.merges", lambda: tokenizers.Tokenizer(
        tokenizers.models.BPE(numbers, pairs, ignore_merges=cut == "llama-bpe")))
    made.pre_tokenizer = cut_by(cut, bool(metadata.get("tokenizer.ggml.add_space_prefix", False)))
    if cut == "qwen2":
        made.normalizer = tokenizers.normalizers.NFC()
    made.decoder = tokenizers.decoders.ByteLevel()
    kinds = metadata.get("tokenizer.ggml.token_type", ())
    if len(np.shape(kinds)) != 1:
        raise ValueError(f"tokenizer.ggml.token_type: expected a list of numbers, got {str(kinds)[:60]}")
    alone = [tokenizers.AddedToken(token, special=kind == CONTROL, normalized=False)
             for token, kind in zip(tokens, kinds, strict=False) if kind in (CONTROL, USER_DEFINED)]
    made.add_tokens([token for token in alone if not token.special])
    made.add_special_tokens([token for token in alone if token.special])
    start = metadata.get("tokenizer.ggml.bos_token_id")
    first = (start,) if metadata.get("tokenizer.ggml.add_bos_token") and type(start) is int else ()
    return Tokenizer.of(made, first, metadata.get("tokenizer.chat_template"))


def by_library(name: str, make: Callable[[], Any]) -> Any:
    """Returns what the library makes; ValueError with its reason where it refuses."""
    try:
        return make()
    except ImportError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{name}: {error}") from None


def cut_by(name: str, prefix: bool) -> Any:
    """Returns the first step of a tokenizer, which cuts a text into the pieces that are merged separately."""
    steps = library().pre_tokenizers
    if name in EXPRESSIONS:
        return steps.Sequence([steps.Split(library().Regex(EXPRESSIONS[name]), behavior="isolated"),
                               steps.ByteLevel(add_prefix_space=prefix, use_regex=False)])
    by_bytes = steps.ByteLevel(add_prefix_space=prefix)
    return steps.Sequence([steps.Digits(individual_digits=True), by_bytes]) if name == DIGITS_ALONE else by_bytes


def is_texts(value: Any) -> TypeGuard[list[str]]:
    """Returns whether a value of the metadata is a list of strings.

    >>> is_texts(["a"]), is_texts([["a"]]), is_texts(None)
    (True, False, False)
    """
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
