"""module:function, as the command line names a kernel."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from typing import Any


def target_of(text: str) -> Callable[..., Any]:
    """Returns the function that `module:function` names; the current folder is searched too.

    Raises:
        ValueError: a module or a name in it that is not there, something that cannot be called, or text without a colon.

    >>> target_of("tinyattn.definitions:attention").__name__
    'attention'
    """
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise ValueError(f"target: expected module:function, as in my_kernels:attention, got {text!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module of somebody else may raise anything while it is imported
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise ValueError(f"target: the module {module!r} cannot be imported: {kind}{error}; it is looked for in this folder and "
                         "on PYTHONPATH") from error
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=1)
            raise ValueError(f"target: {module} has no {part!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"target: {text} is not a function but {type(found).__name__}")
    result: Callable[..., Any] = found
    return result
