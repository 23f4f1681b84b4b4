"""@shapes: declares the axes of a mechanism's arrays in one string, from which it is documented, checked and tested."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
from numpy import ndarray

from tinyattn.ops.checks import function_or_none, kind_name, text, truth
from tinyattn.ops.storage import is_half, narrow, to_single
from tinyattn.ops.types import Array

F = TypeVar("F", bound=Callable[..., Any])
# Options with these annotations are checked here. The keys are text because annotations are not evaluated.
CHECKS: dict[str, Callable[[str, Any], Any]] = {"bool": truth, "str": text, "Callable[[Array], Array] | None": function_or_none}
# The forms in which the linear family is computed.
FORMS = {"parallel", "recurrent", "chunked"}
WITH_RULES = "only attention, its grouped forms and streaming_attention take a rule"
FLOATING = {np.dtype(kind) for kind in (np.float16, np.float32, np.float64)}


def shapes(signature: str, *, per_token: Mapping[str, str] = MappingProxyType({}), states: Sequence[str] = (),
           shared: Sequence[str] = (), waiting: Mapping[str, float] | None = MappingProxyType({})) -> Callable[[F], F]:
    """Declares the core axes of a mechanism's arrays in NumPy's gufunc language, and checks the arrays of every call.

    `"(i,d),(j,d),(j,e)->(i,e)"` names the axes of one head. Before them stands the heads axis: `heads` for the queries (the
    first array and all arrays that share its first core axis), `kv_heads`, a divisor of `heads`, for the others. Before the
    heads axis stand the leading axes, which are equal in all arrays. Arrays without a heads axis are one head; the options
    of `per_token` and `states` then have no heads axis either.

    `per_token` declares the options with one entry per token and their core axes, as in `{"log_decay": "(j)"}`. `shared`
    names the arrays that all heads read: callers give them without a heads axis, and the mechanism gets them with a heads
    axis of length 1; an option of `per_token` among them reaches the mechanism as it was given. `waiting` gives the
    gates that are not 0 in a token that leaves the state unchanged, with their values; None says that no such token reads from the
    state what the last token read.

    float16 and bfloat16 arrays and options are computed in float32, and the first result is returned in the dtype of the
    arrays. Any byte order is accepted; results have the native one. Scores that overflow are inf or NaN in the result,
    without a warning.

    Raises:
        TypeError: an array is not float16, bfloat16, float32 or float64, two arrays have different dtypes, or the mechanism
            does not have an option of this name (the error suggests the nearest name).
        ValueError: the axes do not agree; the error names the array, its shape and the signature.

    >>> @shapes("(i,d),(j,d)->(i,j)")
    ... def dots(q, k):
    ...     return q @ k.mT
    >>> dots(np.ones((2, 3, 4)), np.ones((2, 5, 4))).shape
    (2, 3, 5)
    >>> dots.signature
    '(i,d),(j,d)->(i,j)'
    """
    cores = [tuple(core.split(",")) for core in signature.split("->")[0].strip("()").split("),(")]

    def declare(mechanism: F) -> F:
        code, called = mechanism.__code__, mechanism_name(mechanism)
        names, by_place = code.co_varnames[: len(cores)], min(len(cores), code.co_argcount)
        options_of = by_name(mechanism)
        known = options_of.keys() - set(names)
        required = {name for name in known if inspect.signature(mechanism).parameters[name].default is inspect.Parameter.empty}
        plain = {name: CHECKS[kind] for name, kind in options_of.items() if kind in CHECKS}
        # Shapes and dtypes of the last call that fitted: a decoding step often has the same, and comparing takes a fifth of checking.
        fitting: list[tuple[tuple[int, ...], Any]] = []

        def shown() -> str:
            heads = ["" if name in shared else "heads, " if core[0] == cores[0][0] else "kv_heads, "
                     for name, core in zip(names, cores, strict=True)]
            given = ", ".join(f"{name} (..., {head}{', '.join(core)})"
                              for name, head, core in zip(names, heads, cores, strict=True))
            return f"{called} takes {given}"

        @wraps(mechanism)
        def checked(*arrays: Any, **options: Any) -> Any:
            nonlocal fitting
            if len(arrays) > by_place:
                raise TypeError(f"{called}: everything after {', '.join(names[:by_place])} is given by name")
            if len(arrays) < len(names):
                missing = [name for name in names[len(arrays):] if name not in options]
                if missing:
                    raise TypeError(f"{', '.join(missing)}: missing; {shown()}")
                arrays += tuple(options.pop(name) for name in names[len(arrays):])
            if not options.keys() <= known:
                refuse_unknown(called, options, known, names)
            if not required <= options.keys():
                missing = sorted(required - options.keys())
                raise TypeError(f"{', '.join(missing)}: missing; {called} takes {'it' if len(missing) == 1 else 'them'} by name")
            for name, check in plain.items():
                if name in options:
                    check(name, options[name])
            given = [floating(name, array) for name, array in zip(names, arrays, strict=True)]
            kinds = [(array.shape, array.dtype) for array in given]
            fits = kinds == fitting
            if not fits:
                check_dtypes(names, given)
            single = given[0].ndim == len(cores[0])
            if single and all(array.ndim == len(core) for array, core in zip(given, cores, strict=True)):
                given = [array[None] for array in given]
                for name in (*per_token, *states):
                    if name not in shared and options.get(name) is not None:
                        options[name] = each(options[name], lambda state: state[None] if hasattr(state, "ndim") else state)
            elif shared:
                given = [np.expand_dims(array, -3) if name in shared and array.ndim > 1 else array
                         for name, array in zip(names, given, strict=True)]
            if not fits:
                check_axes(names, given, cores, [shape for shape, _ in kinds], shown)
                fitting = kinds
            stored = given[0].dtype
            half = is_half(stored)
            if half:
                given = [to_single(array) for array in given]
            if options:
                options = {name: to_single(option) for name, option in options.items()}
            # Whatever np.seterr says: exp of a far smaller score is 0, and an overflow shows as inf or NaN in the result.
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                named = dict(zip(names[by_place:], given[by_place:], strict=True)) if by_place < len(names) else {}
                out = mechanism(*given[:by_place], **named, **options)
            if single:
                out = each(out, lambda result: result[0])
            if half:
                out = narrow(out, stored)
            return out

        checked.signature = signature  # type: ignore[attr-defined]
        checked.per_token = dict(per_token)  # type: ignore[attr-defined]
        checked.waiting = waiting  # type: ignore[attr-defined]
        return cast(F, checked)

    return declare


def mechanism_name(function: Callable[..., Any]) -> str:
    """Returns the name of a function without the form that it computes: all forms of a mechanism raise the same errors."""
    name, _, form = function.__name__.rpartition("_")
    return name if form in FORMS else function.__name__


def by_name(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the annotation of each keyword-only argument of a function."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.annotation for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def refuse_unknown(function: str, options: Iterable[str], known: Collection[str], names: Collection[str]) -> None:
    """Raises TypeError for the first option that is not known, and suggests the nearest name that is."""
    name = next(name for name in options if name not in known)
    if name in names:
        raise TypeError(f"{function}: {name} is given twice, by position and by name")
    if name == "score":
        raise TypeError(f"{function}: unexpected keyword 'score'; {WITH_RULES}")
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(known)) or 'none'}"
    raise TypeError(f"{function}: unexpected keyword {name!r}; {hint}")


def each(tree: Any, f: Callable[[Any], Any]) -> Any:
    """Returns f(tree) of an array; of a tuple of arrays, the tuple of f of each."""
    return tuple(each(item, f) for item in tree) if isinstance(tree, tuple) else f(tree)


def floating(name: str, array: Any) -> Array:
    """Returns a floating array as a plain ndarray in native byte order, or a Tensor as it is; raises TypeError otherwise."""
    if type(array) is ndarray and array.dtype in FLOATING:
        return array
    if isinstance(array, np.ndarray):
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name}: expected a plain array, as a masked array would lose its mask; "
                            f"give .filled(...) or .data, and mask=")
        if array.dtype in FLOATING or (is_half(array.dtype) and array.dtype.isnative):
            return array if type(array) is np.ndarray else array.view(np.ndarray)
        native = array.dtype.newbyteorder("=")
        if native in FLOATING or is_half(native):
            return array.astype(native)
    elif hasattr(array, "__array_function__"):
        dtype = getattr(array, "dtype", None)
        if dtype in FLOATING or is_half(dtype):
            return cast(Array, array)
    raise TypeError(f"{name}: expected a float16, bfloat16, float32 or float64 array, got {kind_name(array)}")


def of_shape(name: str, array: Any, shape: tuple[int, ...], note: str = "") -> Array:
    """Returns a floating array that has exactly this shape; raises ValueError for another shape, with a note on this one."""
    checked = floating(name, array)
    if checked.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}{note}, got {checked.shape}")
    return checked


def mapped(name: str, function: Callable[[Array], Array], x: Array) -> Array:
    """Returns function(x) for x (..., length, width); the result must have as many rows, in the same dtype."""
    out = floating(f"{name}(x)", function(x))
    if out.shape[:-1] != x.shape[:-1] or out.ndim != x.ndim:
        raise ValueError(f"{name}(x): expected a result of shape ({', '.join(map(str, x.shape[:-1]))}, ...) for x {x.shape}, "
                         f"got shape {out.shape}")
    if out.dtype != x.dtype:
        raise TypeError(f"{name}(x): expected a result of dtype {x.dtype} as x, got {out.dtype}")
    return out


def check_dtypes(names: Sequence[str], arrays: Sequence[Array]) -> None:
    """Raises TypeError unless all arrays have the same dtype."""
    for name, array in zip(names, arrays, strict=True):
        if array.dtype != arrays[0].dtype:
            raise TypeError(f"{name}: expected the dtype of {names[0]}, {arrays[0].dtype}, got {array.dtype}")


def check_axes(names: Sequence[str], arrays: Sequence[Array], cores: Sequence[tuple[str, ...]],
               given: Sequence[tuple[int, ...]], shown: Callable[[], str]) -> None:
    """Raises ValueError unless the leading axes, the heads and the core axes agree; it names the shapes as the caller gave them."""
    first, as_given = arrays[0], dict(zip(names, given, strict=True))
    sizes: dict[str, tuple[int, str]] = {}
    for name, array, core in zip(names, arrays, cores, strict=True):
        shape, rank = array.shape, len(core) + 1
        if len(shape) < rank:
            raise ValueError(f"{name}: expected at least {rank} axes, got shape {as_given[name]}; {shown()}")
        if shape[:-rank] != first.shape[: -len(cores[0]) - 1]:
            but = "" if len(shape) - len(as_given[name]) == first.ndim - len(given[0]) else " without its heads"
            raise ValueError(f"{name}: expected the leading axes of {names[0]} {given[0]}{but}, got shape {as_given[name]}; {shown()}")
        for axis, size in zip(core, shape[-len(core):], strict=True):
            if axis not in sizes:
                sizes[axis] = (size, name)
            elif sizes[axis][0] != size:
                known, other = sizes[axis]
                raise ValueError(f"{name}: expected {axis} = {known} as in {other} {as_given[other]}, "
                                 f"got shape {as_given[name]}; {shown()}")
    if "d" in sizes and sizes["d"][0] == 0:
        raise ValueError(f"{names[0]}: head_dim 0 has no scores, got shape {given[0]}; {shown()}")
    heads = first.shape[-len(cores[0]) - 1]
    key = ""
    for name, array, core in zip(names[1:], arrays[1:], cores[1:], strict=True):
        kv_heads = array.shape[-len(core) - 1]
        if core[0] == cores[0][0]:
            if kv_heads != heads:
                raise ValueError(f"{name}: expected the heads of {names[0]} {given[0]}, got shape {as_given[name]}; {shown()}")
            continue
        key = key or name
        keys = arrays[list(names).index(key)]
        if kv_heads != keys.shape[-len(core) - 1]:
            raise ValueError(f"{name}: expected the kv_heads of {key} {as_given[key]}, got shape {as_given[name]}; {shown()}")
        if heads % kv_heads if heads and kv_heads else heads != kv_heads:
            raise ValueError(f"{name}: expected kv_heads dividing the {heads} heads of {names[0]} {given[0]}, "
                             f"got {kv_heads} in shape {as_given[name]}; {shown()}")
