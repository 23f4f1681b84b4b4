"""The model in a file that a command is given."""

from __future__ import annotations

import os

from tinyattn.catalog import load_model
from tinyattn.cli.ends import reason
from tinyattn.models import Saved


def opened(path: str) -> Saved:
    """Returns the model in a file; ValueError for a file that does not exist or is not a model."""
    if not os.path.exists(path):
        raise ValueError(f"{path}: does not exist; make it with tinyattn train --out {path}")
    if not os.path.isfile(path):  # opening a FIFO would wait for a writer
        raise ValueError(f"{path}: not a model file: it is {'a folder' if os.path.isdir(path) else 'not a regular file'}")
    try:
        return load_model(path)
    except OSError as error:
        raise ValueError(f"{path}: not a model file that can be read: {error.strerror or error}") from None
    except ValueError as error:
        says = reason(error).removeprefix(f"{path}: ").removeprefix(f"{os.path.basename(path)}: ")
        raise ValueError(f"{path}: not a model file: {says}") from None
