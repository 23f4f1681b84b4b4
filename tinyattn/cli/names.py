"""Names on the command line: case and underscores do not matter, none is given twice, unknown ones get a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
# The most names that a message lists.
SHOWN = 16


def canonical(name: str, known: Iterable[str], kind: str) -> str:
    """Returns the known name that is meant; ValueError for an unknown one, with the nearest names.

    >>> canonical("INT8", ("growing", "int8"), "cache")
    'int8'
    """
    spelled = {key(other): other for other in known}
    wanted = key(name.strip())
    if wanted not in spelled:
        near = [spelled[match] for match in difflib.get_close_matches(wanted, spelled, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {some(spelled.values())}"
        raise ValueError(f"unknown {kind} {name!r}; {hint}")
    return spelled[wanted]


def key(name: str) -> str:
    """Returns a name in the form in which names are compared: in lower case, with hyphens instead of underscores."""
    return name.lower().replace("_", "-")


def some(names: Iterable[str]) -> str:
    """Returns the first names as a text, and the number of the others.

    >>> some("abc")
    'a, b, c'
    """
    first = list(names)
    return ", ".join(first[:SHOWN]) + (f" and {len(first) - SHOWN} more" if len(first) > SHOWN else "")


def each(text: str, find: Callable[[str], T], option: str) -> list[T]:
    """Returns `find(name)` for each of some names, separated by commas; ValueError if two names mean the same.

    >>> each("b, A", lambda name: canonical(name, "ab", "letter"), "--letters")
    ['b', 'a']
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(f"{option}: expected names separated by commas, got {text!r}")
    found = [find(name) for name in names]
    for place, name in enumerate(names):
        if found[place] in found[:place]:
            raise ValueError(f"{option}: {name} is named twice")
    return found


def every(text: str, known: Iterable[str], kind: str, option: str) -> list[str]:
    """Returns the known names that a text lists, or all of them for 'all'."""
    every_one = list(known)
    return every_one if text.strip().lower() == "all" else each(text, lambda name: canonical(name, every_one, kind), option)
