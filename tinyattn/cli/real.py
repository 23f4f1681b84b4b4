"""What commands on trained models share: the model in a folder or a file, and a text that is given or stands in a file."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator

from tinyattn.catalog import find_mixer
from tinyattn.cli.ends import reason, say
from tinyattn.cli.model_file import read
from tinyattn.models import Model, load

# The most bytes of a text.
LONGEST = 1 << 28
GGUF = b"GGUF"


def is_real(path: str) -> bool:
    """Returns whether a path is a folder or a GGUF file, which tinyattn train does not write."""
    if os.path.isdir(path):
        return True
    if not os.path.isfile(path):  # opening a FIFO would wait for a writer
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) == GGUF
    except OSError:
        return False


def opened_model(path: str) -> Model:
    """Returns the model in a folder or a file; ValueError for what does not exist or is no model, MemoryError for one too large."""
    if not os.path.exists(path):
        raise ValueError(f"{path}: does not exist")
    if not os.path.isdir(path) and not os.path.isfile(path):
        raise ValueError(f"{path}: not a model file: it is neither a folder nor a regular file")
    return read(path, lambda: load(path, mixing=lambda name: find_mixer(name).mixing))


def text_of(given: str, option: str) -> str:
    """Returns a text as it is given, or the content of FILE where @FILE is given; @@ at the start stands for one @.

    Raises:
        ValueError: a file that cannot be read as UTF-8, or an empty text.

    >>> text_of("a text", "TEXT"), text_of("@@home", "TEXT")
    ('a text', '@home')
    """
    if given.startswith("@@"):
        return given[1:]
    if not given.startswith("@"):
        if not given:
            raise ValueError(f"{option}: expected at least one character")
        return given
    path = given[1:]
    if not os.path.isfile(path):
        raise ValueError(f"{option}: {path or 'FILE'}: no such file; a text that starts with @ is written with @@")
    if (size := os.path.getsize(path)) > LONGEST:
        raise ValueError(f"{option}: {path}: {size} bytes, at most {LONGEST} are read")
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8")
    except OSError as error:
        raise ValueError(f"{option}: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: {path}: not UTF-8 at byte {error.start}") from None
    if not text:
        raise ValueError(f"{option}: {path}: expected at least one character")
    return text


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Prints warnings in one line each, and each once."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if (line := str(message)) not in seen:
            seen.add(line)
            say(f"warning: {line}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def peak() -> str:
    """Returns the most memory that this process has taken, as text; empty where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:
        return ""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return f", {most:,.0f} MiB at most in memory"


def written(pieces: Iterable[str]) -> None:
    """Writes pieces of a text to standard output, each as soon as it is there."""
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
