"""The model in a file that a command is given."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from tinyattn.catalog import load_model
from tinyattn.cli.ends import reason
from tinyattn.models import Saved

T = TypeVar("T")


def opened(path: str) -> Saved:
    """Returns the model in a file; ValueError for a file that does not exist or is not a model."""
    if not os.path.exists(path):
        made = "" if path.endswith((".gguf", ".safetensors")) else f"; tinyattn train --out {path} makes a model in this file"
        raise ValueError(f"{path}: does not exist{made}")
    if not os.path.isfile(path):  # opening a FIFO would wait for a writer
        raise ValueError(f"{path}: not a model file: it is {'a folder' if os.path.isdir(path) else 'not a regular file'}")
    return read(path, lambda: load_model(path))


def read(path: str, load: Callable[[], T]) -> T:
    """Returns what `load` makes of a file or folder; ValueError that names it where it refuses, MemoryError for one too large."""
    try:
        return load()
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError(f"{path} cannot be mapped") from None
        raise ValueError(f"{path}: not a model file that can be read: {reason(error).removeprefix(f'{path}: ')}") from None
    except (ValueError, TypeError) as error:
        says = reason(error).removeprefix(f"{path}: ").removeprefix(f"{os.path.basename(path)}: ")
        raise ValueError(f"{path}: not a model file that can be read: {says}") from None
