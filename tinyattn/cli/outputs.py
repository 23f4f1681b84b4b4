"""The files that a command writes: checked before the work, and written at once after it."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

from tinyattn.ops.files.atomic import check_writable, place_of, replacing, standard_stream

# A row of a table as --json writes it.
Line = dict[str, Any]
FORMATS = ("png", "svg", "pdf")


def check_outputs(**files: str | None) -> None:
    """Raises for a file that cannot be written, and for two options that name the same file.

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
    """Raises ValueError for a picture in an unknown format, or if matplotlib is not installed."""
    if file is not None:
        format_of(file)
        if importlib.util.find_spec("matplotlib") is None:
            raise ValueError("--plot: matplotlib is not installed; pip install matplotlib")


def format_of(file: str) -> str:
    """Returns the format that a file has by the ending of its name; png without an ending."""
    ending = Path(file).suffix.lower().removeprefix(".") or FORMATS[0]
    if ending not in FORMATS:
        raise ValueError(f"--plot: expected a name that ends with {', '.join(FORMATS)}, got {file}")
    return ending


def write_picture(figure: Any, file: str) -> None:
    """Draws a matplotlib figure to a file."""
    drawn = io.BytesIO()  # some formats seek in their file, which a pipe does not allow
    figure.savefig(drawn, format=format_of(file))
    with replacing(file) as out:
        out.write(drawn.getvalue())


def replaceable(file: str) -> bool:
    """Returns whether a file may be written again and again: a pipe or the standard output would get everything several times."""
    _, old = place_of(file)
    return old is None or (stat.S_ISREG(old.st_mode) and standard_stream(old) is None)


def write_json(content: Any, file: str) -> None:
    """Writes an object as JSON."""
    with replacing(file, "w") as out:
        json.dump(content, out, indent=1)
        out.write("\n")
