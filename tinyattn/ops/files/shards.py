"""The weights in a folder: one safetensors file, or several with an index that says which tensor stands in which."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyattn.ops.files import safetensors
from tinyattn.ops.files.header import LONGEST, SafetensorsError, json_of
from tinyattn.ops.files.stored import Stored

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# At most this many names are listed in one error.
TOLD = 5


def read_folder(folder: str | os.PathLike[str]) -> dict[str, Stored]:
    """Returns the tensors of a folder's safetensors files by name, which stay in the mapped files.

    A folder has either the file `model.safetensors` or the index `model.safetensors.index.json` with the files that it names,
    and no other safetensors file.

    Raises:
        SafetensorsError: a file or the index is not valid; a file of the index is missing; a tensor stands in a file and not in
            the index, or the other way round; a safetensors file in the folder that nothing names. OSError: the folder or a file
            cannot be read, or the folder holds no weights.

    >>> import numpy as np, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> safetensors.save(folder / "model.safetensors", {"w": np.ones((2, 3))})
    >>> read_folder(folder)["w"].shape
    (2, 3)
    """
    folder = Path(folder)
    present = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
    if (folder / INDEX).exists():
        index = read_index(folder / INDEX)
        return read_shards(folder, index, present)
    if not present:
        raise FileNotFoundError(f"{folder}: expected {WEIGHTS}, or {INDEX} and its files; there is no safetensors file")
    if WEIGHTS not in present:
        raise SafetensorsError(f"{folder}: expected {WEIGHTS} or {INDEX}, and there is neither; got {listed(present)}")
    if stray := [name for name in present if name != WEIGHTS]:
        raise SafetensorsError(f"{folder}: {listed(stray)}: beside {WEIGHTS}, and no {INDEX} names it; take it out of the folder")
    return safetensors.read(folder / WEIGHTS)[0]


def read_index(path: Path) -> dict[str, str]:
    """Returns the name of the file in which each tensor stands."""
    if (size := os.path.getsize(path)) > LONGEST:
        raise SafetensorsError(f"{path.name}: {size} bytes, at most {LONGEST} are read")
    try:
        tree = json_of(path.read_bytes())
    except SafetensorsError as error:
        raise SafetensorsError(f"{path.name}: {error}") from None
    places = tree.get("weight_map") if isinstance(tree, dict) else None
    if not isinstance(places, dict):
        raise SafetensorsError(f"{path.name}: expected an object with a weight_map from tensors to files")
    for tensor, name in places.items():
        check_file_name(f"{path.name}: {tensor[:60]}", name)
    return places


def check_file_name(what: str, name: Any) -> None:
    """Raises SafetensorsError unless it is the plain name of a safetensors file, which leads out of no folder."""
    plain = isinstance(name, str) and name.endswith(".safetensors") and not set(name) & set("/\\:\0")
    if not plain:
        raise SafetensorsError(f"{what}: expected the name of a safetensors file in the same folder, got {str(name)[:60]!r}")


def read_shards(folder: Path, index: Mapping[str, str], present: list[str]) -> dict[str, Stored]:
    """Returns the tensors of all files that the index names, once index and files agree."""
    named = sorted(set(index.values()))
    if missing := [name for name in named if name not in present]:
        raise SafetensorsError(f"{folder}: {listed(missing)}: in {INDEX}, and missing in the folder")
    if stray := [name for name in present if name not in named]:
        raise SafetensorsError(f"{folder}: {listed(stray)}: in the folder, and not in {INDEX}; take it out of the folder")
    held = {name: safetensors.read(folder / name)[0] for name in named}
    lines = [f"{tensor} stands in {name} and not there in the index" for name, tensors in held.items()
             for tensor in tensors if index.get(tensor) != name]
    lines += [f"{tensor} does not stand in {name}, where the index has it" for tensor, name in index.items()
              if tensor not in held[name]]
    if lines:
        raise SafetensorsError(f"{folder}: {INDEX} and the files differ: {listed(lines, '; ')}")
    return {tensor: held[name][tensor] for tensor, name in index.items()}


def listed(names: list[str], between: str = ", ") -> str:
    """Returns the first names in one line, and how many more there are.

    >>> listed(["a", "b"]), listed(["a"] * 8)
    ('a, b', 'a, a, a, a, a and 3 more')
    """
    return between.join(names[:TOLD]) + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")
