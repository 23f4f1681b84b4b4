"""@named: the missing and unknown arguments of a mechanism whose axes are not those of queries and keys, refused by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from tinyattn.ops.signature import mechanism_name, refuse_unknown

F = TypeVar("F", bound=Callable[..., Any])


def named(mechanism: F) -> F:
    """Returns a mechanism that refuses missing and unknown arguments as `shapes` does: by one name, whatever its form.

    Raises:
        TypeError: an argument is missing, given twice, or unknown (the error suggests the nearest name).

    >>> @named
    ... def doubled_recurrent(x, *, bias=0.0):
    ...     return 2 * x + bias
    >>> doubled_recurrent(1.0, bais=2.0)
    Traceback (most recent call last):
    TypeError: doubled: unexpected keyword 'bais'; did you mean bias?
    """
    called, parameters = mechanism_name(mechanism), inspect.signature(mechanism).parameters.values()
    placed = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    by_name = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    required = [parameter.name for parameter in parameters
                if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty]

    @wraps(mechanism)
    def checked(*arrays: Any, **options: Any) -> Any:
        if len(arrays) > len(placed):
            raise TypeError(f"{called}: everything after {', '.join(placed)} is given by name")
        left = placed[len(arrays) :]
        known = {*left, *by_name}
        if not options.keys() <= known:
            refuse_unknown(called, options, known, placed)
        missing = [name for name in (*left, *required) if name not in options]
        if missing:
            raise TypeError(f"{', '.join(missing)}: missing; {called} takes {', '.join((*placed, *by_name))}")
        return mechanism(*arrays, **options)

    return cast(F, checked)
