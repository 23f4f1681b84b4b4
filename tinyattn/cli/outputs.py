"""The files that a command writes: checked before the work, written whole after it."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

from tinyattn.ops.files.atomic import check_writable, replacing

FORMATS = ("png", "svg", "pdf")


def check_outputs(**files: str | None) -> None:
    """Raises at once for a file that cannot be written, and for two options that name the same one.

    Raises:
        OSError: as `check_writable`. ValueError: the same file twice.
    """
    seen: dict[str, str] = {}
    for option, file in files.items():
        if file is None:
            continue
        check_writable(file)
        place = os.path.realpath(file)
        if place in seen and (os.path.isfile(place) or not os.path.exists(place)):
            raise ValueError(f"--{option}: {file} is the file of --{seen[place]} too; name another one")
        seen[place] = option


def check_picture(file: str | None) -> None:
    """Raises ValueError at once for a picture in an unknown format, or without matplotlib to draw it."""
    if file is not None:
        format_of(file)
        if importlib.util.find_spec("matplotlib") is None:
            raise ValueError("--plot: matplotlib is not installed; pip install 'tinyattn[plot]'")


def format_of(file: str) -> str:
    """Returns the format that the end of a file's name says: png where it has none."""
    ending = Path(file).suffix.lower().removeprefix(".") or FORMATS[0]
    if ending not in FORMATS:
        raise ValueError(f"--plot: expected a name that ends with {', '.join(FORMATS)}, got {file}")
    return ending


def write_picture(figure: Any, file: str) -> None:
    """Draws a matplotlib figure to a file."""
    drawn = io.BytesIO()  # not to the file: some formats go back in it, which a pipe does not allow
    figure.savefig(drawn, format=format_of(file))
    with replacing(file) as out:
        out.write(drawn.getvalue())


def write_json(content: Any, file: str) -> None:
    """Writes what was measured."""
    with replacing(file, "w") as out:
        json.dump(content, out, indent=1)
        out.write("\n")
