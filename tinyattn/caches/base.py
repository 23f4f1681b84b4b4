"""The base of all caches: every operation computes a new value first and stores it at the end; also copies and files."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np

from tinyattn.caches.checks import check_chunk, check_fit, check_queries, check_reorder, check_truncation
from tinyattn.caches.files import BFLOAT16, check_path, settings_of, stored_as
from tinyattn.caches.options import READING, Names, check_options
from tinyattn.caches.turns import exclusive
from tinyattn.ops.checks import whole
from tinyattn.ops.files import safetensors
from tinyattn.ops.types import Array


class Base:
    """A cache that holds one value, `_held`, None while it is empty; an operation replaces the value and never changes it.

    Whatever fails or is interrupted, by an exception or by Ctrl-C, therefore leaves the cache as it was. A subclass defines one
    hook per operation: `_appended`, `_attended`, `_truncated`, and `_loaded`. The value has `length`, `like` (keys and values of
    the shape and dtype held, with any number of tokens), `nbytes`, `allocated`, `forked()`, `reordered(rows)` and `saved()`.
    """

    exact = True
    _names: Names = READING

    def __init__(self) -> None:
        self._held: Any = None
        self._turn: dict[str, int] = {}

    @property
    def _attend_names(self) -> Names:
        """The options that `attend` takes: those of `step`."""
        return self._names

    def _appended(self, k: Array, v: Array) -> Any:
        """Returns the value with n more tokens, before any token is forgotten."""
        raise NotImplementedError

    def _trimmed(self, held: Any) -> Any:
        """Returns a value without the tokens that no later token will need."""
        return held

    def _attended(self, q: Array, held: Any, options: dict[str, Any]) -> Array:
        """Returns the attention of queries at the last q_len positions of a value."""
        raise NotImplementedError

    def _fitting(self, q: Array, k: Array) -> Array:
        """Returns queries as a plain array; raises unless they fit keys of this shape and dtype."""
        return check_fit(q, k)

    def _truncated(self, held: Any, length: int) -> Any:
        """Returns a value without the tokens from position `length` on; there is at least one such token."""
        raise NotImplementedError

    def _reordered(self, held: Any, rows: Array) -> Any:
        """Returns a value with these rows of the first axis."""
        return held.reordered(rows)

    def _forked(self) -> Any:
        """Returns the value for a copy of this cache; neither may write over the other's tokens afterwards."""
        if self._held is None:
            return None
        self._held, other = self._held.forked()
        return other

    def _viewed(self, held: Any) -> tuple[Array, Array, Array]:
        """Returns a value's keys, values and positions, which are never written over later."""
        raise NotImplementedError

    def _saved(self) -> dict[str, Array]:
        """Returns all arrays that are held, by name; none while the cache is empty."""
        held = self._held
        arrays: dict[str, Array] = {} if held is None else held.saved()
        return arrays

    def _loaded(self, arrays: dict[str, Array]) -> Any:
        """Returns the value that `_saved` gave these arrays of."""
        raise NotImplementedError

    def _settings(self) -> dict[str, int]:
        """Returns the numbers that this cache was made with."""
        return {}

    def _filled(self, act: str) -> Any:
        """Returns the value; ValueError while the cache is empty."""
        held = self._held
        if held is None:
            raise ValueError(f"{act}: this cache is empty; append first")
        return held

    @property
    def capacity(self) -> int | None:
        """Number of tokens that fit; None if there is no limit."""
        return None

    @property
    def length(self) -> int:
        """Number of tokens seen: the position of the next one."""
        held = self._held
        return 0 if held is None else int(held.length)

    @property
    def nbytes(self) -> int:
        """Bytes that the tokens held need."""
        held = self._held
        return 0 if held is None else int(held.nbytes)

    @property
    def allocated(self) -> int:
        """Bytes of the buffers."""
        held = self._held
        return 0 if held is None else int(held.allocated)

    def positions(self, count: int) -> Array:
        """Returns the positions of the next `count` tokens."""
        count = whole("count", count, 0)
        return np.arange(self.length, self.length + count)

    @exclusive
    def append(self, k: Array, v: Array) -> None:
        """Stores n more tokens: k (..., kv_heads, n, head_dim), v (..., kv_heads, n, value_dim)."""
        self._held = self._trimmed(self._appended(k, v))

    @exclusive
    def attend(self, q: Array, **options: Any) -> Array:
        """Returns the attention of queries at the last q_len positions; options are those of the mechanism."""
        check_options("attend", options, self._attend_names)
        held = self._filled("attend")
        check_queries(q, self.length)
        return self._attended(self._fitting(q, held.like[0]), held, options)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns the attention of its queries, which is computed before anything is stored."""
        check_options("step", options, self._names)
        held = self._appended(k, v)
        check_chunk(q, held.length - self.length)
        out = self._attended(self._fitting(q, held.like[0]), held, options)
        self._held = self._trimmed(held)
        return out

    def _attended_again(self, q: Array, options: dict[str, Any]) -> Array:
        """Returns the attention of another layer's queries, which stand where those of the last step did."""
        return self.attend(q, **options)

    @exclusive
    def truncate(self, length: int) -> None:
        """Removes all tokens from position `length` on."""
        length = check_truncation(length, self.length)
        if length < self.length:
            self._held = self._truncated(self._held, length)

    @exclusive
    def fork(self) -> Self:
        """Returns an independent cache with the same tokens; the two share memory until one of them writes."""
        held = self._forked()
        child = type(self).__new__(type(self))
        child.__dict__.update(self.__dict__)
        child._turn, child._held = {}, held
        return child

    def _successor(self) -> Self:
        """Returns a fork that will replace this cache, which then no longer writes."""
        return self.fork()

    def __copy__(self) -> Self:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.fork()

    @exclusive
    def reorder(self, indices: Array) -> None:
        """Replaces row i of the first axis by row indices[i]."""
        held = self._filled("reorder")
        keys = held.like[0]
        if keys.ndim < 4:
            raise ValueError(f"reorder: keys {keys.shape} have no batch axis before kv_heads")
        self._held = self._reordered(held, check_reorder(indices, len(keys)))

    @exclusive
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all that is held to a safetensors file, which appears complete or not at all.

        Raises:
            ValueError: nothing has been appended.
        """
        check_path(path)
        arrays = self._saved()
        if not arrays:
            raise ValueError("save: this cache is empty and has no shapes yet; append first")
        settings = {name: str(number) for name, number in self._settings().items()}
        halves = " ".join(name for name, array in arrays.items() if array.dtype.name == BFLOAT16)
        safetensors.save(path, arrays, metadata={"cache": type(self).__name__, **settings} | ({BFLOAT16: halves} if halves else {}))

    @classmethod
    def load(cls, path: str | os.PathLike[str], **given: Any) -> Self:
        """Returns a cache written by `save`; functions that it was made with are given again.

        Raises:
            ValueError: a file of another cache, or one that lacks an array; bfloat16 while `ml_dtypes`, from which NumPy knows
                it, has not been imported.
        """
        check_path(path)
        arrays, metadata = safetensors.load_with_metadata(path)
        arrays |= stored_as(BFLOAT16, metadata.pop(BFLOAT16, "").split(), arrays, path)
        cache = cls(**settings_of(metadata, cls, path), **given)
        try:
            cache._held = cache._loaded(arrays)
        except KeyError as error:
            raise ValueError(f"{path}: expected a {cls.__name__}, found no {error.args[0]}") from None
        return cache


@exclusive
def view(self: Base) -> tuple[Array, Array, Array]:
    """Returns keys, values and their positions, read-only; later operations do not change them.

    Raises:
        ValueError: nothing has been appended.
    """
    shown = keys, values, _ = self._viewed(self._filled("view"))
    keys.flags.writeable = values.flags.writeable = False
    return shown
