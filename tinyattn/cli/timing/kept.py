"""Rows that are written as they are measured, beside the rows that earlier runs wrote to the same file."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from tinyattn.cli.outputs import Line, write_json
from tinyattn.ops.files.atomic import standard_stream


def earlier(file: str, key: Sequence[str]) -> list[Line]:
    """Returns the rows that a file holds, none where there is no such file; ValueError for a file of anything else."""
    if not Path(file).is_file() or not Path(file).stat().st_size:
        return []
    try:
        lines = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--json: {file} holds no rows of this table ({error}); name another file") from None
    if not isinstance(lines, list) or not all(isinstance(line, dict) and line.keys() >= set(key) for line in lines):
        raise ValueError(f"--json: {file} holds no rows of this table; name another file")
    return lines


def can_be_replaced(file: str) -> bool:
    """Returns whether a file can be written anew with each row; a pipe and the standard output cannot."""
    if not os.path.exists(file):
        return True
    found = os.stat(file)
    return stat.S_ISREG(found.st_mode) and standard_stream(found) is None


def merged(old: Iterable[Line], new: Iterable[Line], key: Sequence[str]) -> list[Line]:
    """Returns the old rows, those measured anew in their places, and then the rows that are new.

    >>> merged([{"name": "a", "ms": 1}, {"name": "b", "ms": 2}], [{"name": "c", "ms": 3}, {"name": "a", "ms": 4}], ["name"])
    [{'name': 'a', 'ms': 4}, {'name': 'b', 'ms': 2}, {'name': 'c', 'ms': 3}]
    """
    return list({tuple(line[name] for name in key): line for line in [*old, *new]}.values())


def kept(lines: Iterable[Line], file: str, key: Sequence[str]) -> list[Line]:
    """Returns the rows, after writing the file anew with each row that comes: an interrupted run leaves those that it finished."""
    old, done = earlier(file, key), []
    for line in lines:
        done.append(line)
        write_json(merged(old, done, key), file)
    return done
