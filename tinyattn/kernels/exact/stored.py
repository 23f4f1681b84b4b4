"""Attention over stored keys, in pages or in codes: the public functions, which check every number by which memory is read."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.exact import reading
from tinyattn.kernels.exact.primitive import MOST_LINES
from tinyattn.kernels.tiles.dots import KEYS
from tinyattn.kernels.tiles.lanes import columns, lanes
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import is_int
from tinyattn.ops.options import Window, has_infinite
from tinyattn.ops.quantize import BITS, Packed
from tinyattn.ops.signature import check_dtypes, floating
from tinyattn.ops.storage import is_half, narrow, to_single
from tinyattn.ops.types import Array


def paged_attention(q: Array, keys: Array, values: Array, tables: Array, lengths: Array, *, bias: Array | Bias | None = None,
                    window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                    sinks: Array | None = None) -> Array:
    """Returns causal attention over keys and values in pages, found through one table per row; nothing is gathered.

    Key p of row b is keys[tables[b, p // page_size], :, p % page_size], for p < lengths[b]; the row's queries stand at its
    last q_len positions. What lies in other pages, or behind a row's length in its last page, has no effect.

    Shapes: q (rows, heads, i, d), keys (pages, kv_heads, page_size, d), values (pages, kv_heads, page_size, e), tables
    (rows, blocks) and lengths (rows,) of integers -> (rows, heads, i, e). d and e are whole vector registers of this
    machine (32 always are), page_size is a multiple of 4, and at most 16 query heads share a kv head. Without gradients.

    Raises:
        TypeError: an argument of another kind or dtype, a Tensor.
        ValueError: one of another shape, pages that are not there, lengths that the tables have no pages for.

    >>> x = np.ones((2, 1, 4, 32))
    >>> paged_attention(x[:1, :, :1], x, x, np.array([[1, 0]]), np.array([5]))[0, 0, 0, :2]
    array([1., 1.])
    """
    q, keys, values = (plain(name, x) for name, x in (("q", q), ("keys", keys), ("values", values)))
    check_dtypes(("q", "keys", "values"), (q, keys, values))
    for name, x, axes in (("q", q, "(rows, heads, i, d)"), ("keys", keys, "(pages, kv_heads, page_size, d)")):
        if x.ndim != 4:
            raise ValueError(f"{name}: expected {axes}, got shape {x.shape}")
    check_pair("values", values, "keys", keys)
    check_heads(q, "keys", keys)
    if keys.shape[-2] < 1 or keys.shape[-2] % KEYS:
        raise ValueError(f"keys: expected a page_size that is a multiple of {KEYS}, got {keys.shape[-2]} in shape {keys.shape}")
    tables, lengths = check_tables(len(q), keys, tables, lengths)
    stored = q.dtype
    q, keys, values = (to_single(x) for x in (q, keys, values))
    check_widths(q, "values", values.shape[-1])
    bias, sinks = without_gradient("bias", bias), without_gradient("sinks", sinks)
    if bias is not None and len(lengths) and lengths.min() < lengths.max() and holds_infinite(bias, q.shape[-2], int(lengths.max())):
        raise ValueError(f"bias: expected numbers below +inf where rows differ in length, got +inf and lengths {lengths}")
    keys, values = (np.require(x, requirements=["C", "W"]) for x in (keys, values))
    out = reading.paged_attention(q, keys, values, tables, lengths, bias=bias, window=window, scale=scale, softcap=softcap,
                                  sinks=sinks)
    return returned(out, stored)


def quantized_attention(q: Array, keys: Packed, values: Packed, new_keys: Array, new_values: Array, *,
                        bias: Array | Bias | None = None, window: Window | None = None, scale: float | None = None,
                        softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns causal attention over older tokens in codes, unpacked one group at a time, and newer ones that are arrays.

    The queries stand at the last q_len positions of the n + m tokens.

    Shapes: q (..., heads, i, d); keys in groups of tokens, (..., kv_heads, n, d), values in groups of channels, (...,
    kv_heads, n, e), both from `tinyattn.ops.quantize.quantize` with the same bits; new_keys (..., kv_heads, m, d) and
    new_values (..., kv_heads, m, e) after them -> (..., heads, i, e). d, e and the groups of channels are whole vector
    registers of codes (32 always are), and at most 16 query heads share a kv head. Without gradients.

    Raises:
        TypeError: an argument of another kind or dtype, a Tensor.
        ValueError: one of another shape; codes, scales and zeros that do not belong together.

    >>> from tinyattn.ops.quantize import quantize
    >>> x = np.ones((1, 8, 32))
    >>> packed = [quantize(x, bits=8, group=8, axis=-2), quantize(x, bits=8, group=32, axis=-1)]
    >>> quantized_attention(x[:, 7:], *packed, x, x)[0, 0, :2]
    array([1., 1.])
    """
    q, new_keys, new_values = (plain(name, x) for name, x in (("q", q), ("new_keys", new_keys), ("new_values", new_values)))
    check_dtypes(("q", "new_keys", "new_values"), (q, new_keys, new_values))
    stored = q.dtype
    q, new_keys, new_values = (to_single(x) for x in (q, new_keys, new_values))
    for name, x in (("q", q), ("new_keys", new_keys)):
        if x.ndim < 3:
            raise ValueError(f"{name}: expected at least 3 axes, got shape {x.shape}")
    check_pair("new_values", new_values, "new_keys", new_keys)
    check_heads(q, "new_keys", new_keys)
    if q.shape[:-3] != new_keys.shape[:-3]:
        raise ValueError(f"new_keys: expected the leading axes of q {q.shape}, got shape {new_keys.shape}")
    check_widths(q, "new_values", new_values.shape[-1])
    keys = check_packed("keys", keys, -2, new_keys)
    values = check_packed("values", values, -1, new_values)
    if keys.bits != values.bits or keys.codes.shape[-2] != values.codes.shape[-2]:
        raise ValueError(f"values: expected the {keys.bits} bits and {keys.codes.shape[-2]} tokens of keys, got {values.bits} bits "
                         f"and {values.codes.shape[-2]} tokens")
    bias, sinks = without_gradient("bias", bias), without_gradient("sinks", sinks)
    out = reading.quantized_attention(q, keys, values, new_keys, new_values, bias=bias, window=window, scale=scale, softcap=softcap,
                                      sinks=sinks)
    return returned(out, stored)


def plain(name: str, x: Any) -> Array:
    """Returns a floating array; TypeError for anything else, Tensors too."""
    array = floating(name, x)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected an array, got {type(x).__name__}; reading stored keys has no gradient, use .value")
    return array


def without_gradient(name: str, option: Any) -> Any:
    """Returns a bias or sinks as they are; TypeError for a Tensor."""
    if option is not None and not isinstance(option, Bias) and getattr(option, "dtype", None) != np.bool_:
        plain(name, option)
    return option


def holds_infinite(bias: Array | Bias, q_len: int, length: int) -> bool:
    """Returns whether a bias holds +inf: who sees it, and so what it does, would differ from row to row."""
    return has_infinite(bias.of(np.arange(1 - length, q_len)) if isinstance(bias, Bias) else bias)


def returned(out: Array, stored: Any) -> Array:
    """Returns the result in the dtype of the queries as they came."""
    narrowed: Array = narrow(out, stored) if is_half(stored) else out
    return narrowed


def described(x: Any) -> str:
    """Returns what an error says that came: a dtype, or a type."""
    return type(x).__name__ if isinstance(x, np.ma.MaskedArray) or not isinstance(x, np.ndarray) else str(x.dtype)


def check_pair(name: str, values: Array, other: str, keys: Array) -> None:
    """Raises ValueError unless values have the axes of their keys, but for the width."""
    if values.shape[:-1] != keys.shape[:-1]:
        raise ValueError(f"{name}: expected the axes of {other} {keys.shape} but for the last, got shape {values.shape}")


def check_heads(q: Array, name: str, keys: Array) -> None:
    """Raises ValueError unless keys have the width of the queries, and kv heads that the kernels share out."""
    heads, kv_heads = q.shape[-3], keys.shape[-3]
    if q.shape[-1] != keys.shape[-1]:
        raise ValueError(f"{name}: expected d = {q.shape[-1]} as in q {q.shape}, got shape {keys.shape}")
    if not (heads and kv_heads) or heads % kv_heads or heads // kv_heads > MOST_LINES:
        raise ValueError(f"{name}: expected kv_heads that divide the {heads} heads of q {q.shape}, at most {MOST_LINES} to one, "
                         f"got {kv_heads} in shape {keys.shape}")


def check_widths(q: Array, name: str, value_dim: int) -> None:
    """Raises ValueError unless rows of keys and values are whole registers."""
    for argument, width, whole in (("q", q.shape[-1], lanes(q.itemsize)), (name, value_dim, columns(q.itemsize))):
        if width < 1 or width % whole:
            raise ValueError(f"{argument}: expected a width that is a multiple of {whole} in {q.dtype} on this machine, got {width}")


def check_tables(rows: int, keys: Array, tables: Any, lengths: Any) -> tuple[Array, Array]:
    """Returns tables and lengths as int64; an error unless every token of every row has a page that is there."""
    for name, numbers, axes in (("tables", tables, 2), ("lengths", lengths, 1)):
        if not isinstance(numbers, np.ndarray) or isinstance(numbers, np.ma.MaskedArray) or numbers.dtype.kind not in "iu":
            raise TypeError(f"{name}: expected an integer array, got {described(numbers)}")
        if numbers.ndim != axes or len(numbers) != rows:
            raise ValueError(f"{name}: expected shape {'(rows, blocks)' if axes == 2 else '(rows,)'} with the {rows} rows of q, "
                             f"got {numbers.shape}")
    room = tables.shape[1] * keys.shape[-2]
    # In their own dtype: a page of 2^63 would come out negative.
    if tables.size and not 0 <= int(tables.min()) <= int(tables.max()) < len(keys):
        raise ValueError(f"tables: expected pages 0 to {len(keys) - 1}, got {tables.min()} to {tables.max()}")
    if lengths.size and not 0 <= int(lengths.min()) <= int(lengths.max()) <= room:
        raise ValueError(f"lengths: expected 0 to {room}, the room in tables {tables.shape} of pages of {keys.shape[-2]} tokens, "
                         f"got {lengths.min()} to {lengths.max()}")
    return tuple(np.require(x.astype(np.int64), requirements=["C", "W"]) for x in (tables, lengths))  # type: ignore[return-value]


def check_packed(name: str, packed: Any, axis: int, new: Array) -> Packed:
    """Returns packed rows beside the newer ones after them; an error unless codes, scales and zeros belong together."""
    if not isinstance(packed, Packed):
        raise TypeError(f"{name}: expected Packed rows, as tinyattn.ops.quantize.quantize returns them, got {type(packed).__name__}")
    codes, scale, zero, bits, group, along, width = packed
    for part, array, dtype in (("codes", codes, np.dtype(np.uint8)), ("scale", scale, new.dtype), ("zero", zero, new.dtype)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise TypeError(f"{name}: expected {part} of {dtype}, got {described(array)}")
    numbers = (bits, group, along, width)
    if not all(map(is_int, numbers)):
        raise TypeError(f"{name}: expected bits, group, axis and width to be ints, got {bits!r}, {group!r}, {along!r}, {width!r}")
    if bits not in BITS or along != axis or width != new.shape[-1] or group < 1 or codes.ndim != new.ndim:
        raise ValueError(f"{name}: expected 8 or 4 bits in groups along axis {axis} of rows of width {new.shape[-1]} with {new.ndim} "
                         f"axes, got {bits} bits in groups of {group} along axis {along}, width {width}, codes {codes.shape}")
    lead, held = new.shape[:-2], codes.shape[-2]
    groups = (held // group, width) if axis == -2 else (held, -(-width // group))
    if (codes.shape != (*lead, held, -(-width * bits // 8)) or not scale.shape == zero.shape == (*lead, *groups)
            or (axis == -2 and held % group)):
        raise ValueError(f"{name}: expected codes, scale and zero of whole groups of {group} beside new rows {new.shape}, got "
                         f"{codes.shape}, {scale.shape} and {zero.shape}")
    if not reading.unpacks(packed):
        register = lanes(scale.itemsize) * 8 // int(bits)
        raise ValueError(f"{name}: expected a width{'' if axis == -2 else ' and groups'} of whole registers of {register} codes on "
                         f"this machine, got a width of {width} in groups of {group}")
    return Packed(codes, scale, zero, int(bits), int(group), axis, int(width))
