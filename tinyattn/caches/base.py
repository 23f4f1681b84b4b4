"""What caches do alike: compute first, then commit; one thread at a time; copies and files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from threading import get_ident
from typing import Any, Self, TypeVar, cast

import numpy as np

from tinyattn.caches.asked import READING, Names, check_fit, check_options
from tinyattn.caches.files import BFLOAT16, check_path, settings_of, stored_as
from tinyattn.caches.protocol import check_chunk, check_queries, check_reorder, check_truncation
from tinyattn.ops.checks import whole
from tinyattn.ops.files import safetensors
from tinyattn.ops.types import Array

F = TypeVar("F", bound=Callable[..., Any])


class Turns:
    """What one thread uses at a time."""

    _turn: dict[str, int]


def exclusive(method: F) -> F:
    """Makes a method an error while another thread is in one of the same cache: both would write the same rows.

    Setting a key unless it is there is one step to all threads. A thread that is stopped before `try` keeps its turn
    until its next call.
    """
    @wraps(method)
    def call(self: Turns, *arguments: Any, **options: Any) -> Any:
        me = get_ident()
        if self._turn.setdefault("thread", me) != me:
            raise RuntimeError(f"{method.__name__}: another thread is using this {type(self).__name__}; give each its own, by fork")
        try:
            return method(self, *arguments, **options)
        finally:
            self._turn.pop("thread", None)

    return cast(F, call)


class Base(Turns):
    """A cache that holds one value, `_held`: None while empty, replaced whole by what changes it, never changed itself.

    What fails or is stopped anywhere, by an exception or by Ctrl-C, therefore leaves the cache as it was. A cache says
    how its value grows, is read, is cut and is picked from; the acts of the protocol follow from these.
    """

    exact = True
    _names: Names = READING

    def __init__(self) -> None:
        self._held: Any = None
        self._turn = {}

    @property
    def _attend_names(self) -> Names:
        """The options that `attend` takes: those of `step`."""
        return self._names

    def _grown(self, k: Array, v: Array) -> Any:
        """Returns the value with n more tokens, of which nothing is forgotten yet."""
        raise NotImplementedError

    def _settled(self, held: Any) -> Any:
        """Returns the value without what later tokens will not need."""
        return held

    def _read(self, q: Array, held: Any, options: dict[str, Any]) -> Array:
        """Returns what queries at the last q_len positions of a value read."""
        raise NotImplementedError

    def _entering(self, k: Array) -> Array:
        """Returns the keys of a chunk with the axes that they are held with."""
        return k

    def _fitting(self, q: Array, k: Array) -> Array:
        """Returns queries as a plain array; an error unless they fit keys of this shape and dtype."""
        return check_fit(q, k)

    def _cut(self, length: int) -> Any:
        """Returns the value without the tokens from position `length` on."""
        raise NotImplementedError

    def _picked(self, rows: Array) -> Any:
        """Returns the value of these rows of the first axis."""
        raise NotImplementedError

    def _parted(self) -> Any:
        """Returns the value for a copy of this cache, after what it takes for the two not to write over each other."""
        return self._held

    def _kept(self) -> tuple[Array, Array] | None:
        """Returns keys and values of the shape and dtype of what is stored, with any number of tokens; None while empty."""
        raise NotImplementedError

    def _arrays(self) -> dict[str, Array]:
        """Returns all that is held, by name; nothing while the cache is empty."""
        raise NotImplementedError

    def _restore(self, arrays: dict[str, Array]) -> None:
        """Holds what `_arrays` said."""
        raise NotImplementedError

    def _settings(self) -> dict[str, int]:
        """Returns the numbers that this cache was made with."""
        return {}

    @property
    def capacity(self) -> int | None:
        """Tokens that fit; None is unbounded."""
        return None

    @property
    def length(self) -> int:
        """Tokens seen: the position of the next one."""
        return 0 if self._held is None else int(self._held.length)

    def positions(self, count: int) -> Array:
        """Returns the positions of the next `count` tokens."""
        count = whole("count", count, 0)
        return np.arange(self.length, self.length + count)

    @exclusive
    def append(self, k: Array, v: Array) -> None:
        """Stores n more tokens: k (..., kv_heads, n, head_dim), v (..., kv_heads, n, value_dim)."""
        self._held = self._settled(self._grown(k, v))

    @exclusive
    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what queries at the last q_len positions read; options as the mechanism's."""
        check_options("attend", options, self._attend_names)
        check_queries(q, self.length)
        kept = self._kept()
        if kept is None:
            raise ValueError("attend: this cache is empty; append first")
        return self._read(self._fitting(q, kept[0]), self._held, options)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read, computed before anything is stored."""
        check_options("step", options, self._names)
        grown = self._grown(k, v)
        check_chunk(q, grown.length - self.length)
        out = self._read(self._fitting(q, self._entering(k)), grown, options)
        self._held = self._settled(grown)
        return out

    def _reread(self, q: Array, options: dict[str, Any]) -> Array:
        """Returns what the queries of another layer read, which stand where those of the last step did."""
        return self.attend(q, **options)

    @exclusive
    def truncate(self, length: int) -> None:
        """Forgets all tokens from position `length` on."""
        length = check_truncation(length, self.length)
        if length < self.length:
            self._held = self._cut(length)

    @exclusive
    def fork(self) -> Self:
        """Returns a cache with the same tokens that goes its own way; memory is shared until one of them writes."""
        held = self._parted()
        child = type(self).__new__(type(self))
        child.__dict__.update(self.__dict__)
        child._turn, child._held = {}, held
        return child

    def _successor(self) -> Self:
        """Returns a fork that is to take the place of this cache, which then no longer writes."""
        return self.fork()

    def __copy__(self) -> Self:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.fork()

    @exclusive
    def reorder(self, indices: Array) -> None:
        """Makes row i of the first axis what row indices[i] was."""
        kept = self._kept()
        if kept is None:
            raise ValueError("reorder: this cache is empty and has no rows yet; append first")
        if kept[0].ndim < 4:
            raise ValueError(f"reorder: keys {kept[0].shape} have no batch axis before kv_heads")
        self._held = self._picked(check_reorder(indices, len(kept[0])))

    @exclusive
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes what is held as safetensors; the file appears whole or not at all.

        Raises:
            ValueError: nothing has been appended.
        """
        check_path(path)
        arrays = self._arrays()
        if not arrays:
            raise ValueError("save: this cache is empty and has no shapes yet; append first")
        settings = {name: str(number) for name, number in self._settings().items()}
        halves = " ".join(name for name, array in arrays.items() if array.dtype.name == BFLOAT16)
        safetensors.save(path, arrays, metadata={"cache": type(self).__name__, **settings} | ({BFLOAT16: halves} if halves else {}))

    @classmethod
    def load(cls, path: str | os.PathLike[str], **given: Any) -> Self:
        """Returns a cache written by `save`; functions that it was made with are given again.

        Raises:
            ValueError: a file of another cache, or one that does not hold what this one needs; bfloat16 where nobody has
                imported `ml_dtypes`, from which NumPy knows it.
        """
        check_path(path)
        arrays, metadata = safetensors.load_with_metadata(path)
        arrays |= stored_as(BFLOAT16, metadata.pop(BFLOAT16, "").split(), arrays, path)
        cache = cls(**settings_of(metadata, cls, path), **given)
        try:
            cache._restore(arrays)
        except KeyError as error:
            raise ValueError(f"{path}: expected a {cls.__name__}, found no {error.args[0]}") from None
        return cache


class Keyed(Base):
    """A cache that keeps keys, and can show them."""

    def _seen(self, held: Any) -> tuple[Array, Array, Array]:
        """Returns a value's keys, values and their positions, over which nothing is written later."""
        raise NotImplementedError

    @exclusive
    def view(self) -> tuple[Array, Array, Array]:
        """Returns keys, values and their positions, read-only; what comes later does not change them.

        Raises:
            ValueError: nothing has been appended.
        """
        if self._held is None:
            raise ValueError("view: this cache is empty and has no shapes yet; append first")
        shown = keys, values, _ = self._seen(self._held)
        keys.flags.writeable = values.flags.writeable = False
        return shown
