"""Only one thread at a time may use a cache: a method that a second thread enters raises."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import get_ident
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def exclusive(method: F) -> F:
    """Makes a method raise while another thread is in one of the same cache, since both would write the same rows.

    The object has a dict `_turn`. Setting a key of a dict unless it exists is one step to all threads. A thread that is stopped
    before `try` keeps its turn until its next call.
    """
    @wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        me = get_ident()
        if self._turn.setdefault("thread", me) != me:
            raise RuntimeError(f"{method.__name__}: another thread is using this {type(self).__name__}; give each its own, by fork")
        try:
            return method(self, *arguments, **options)
        finally:
            self._turn.pop("thread", None)

    return cast(F, call)
