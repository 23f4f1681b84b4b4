"""QuantizedCache: older tokens in 8 or 4 bits per number, the newest ones unchanged."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from tinyattn.caches import base
from tinyattn.caches.checks import check_chunk, check_keys_values
from tinyattn.caches.code_reading import packed_parts, quantized_attention
from tinyattn.caches.options import check_options
from tinyattn.caches.parts import Part, attend_parts, option_of_queries
from tinyattn.caches.tape import NEVER, Tape, Tapes
from tinyattn.caches.turns import exclusive
from tinyattn.ops.checks import whole
from tinyattn.ops.quantize import BITS, Packed, dequantize, quantize
from tinyattn.ops.types import Array

CODES = {name: tuple(f"{name}_{part}" for part in ("codes", "scale", "zero")) for name in ("keys", "values")}
NAMES = tuple(name for rows, parts in CODES.items() for name in (rows, *parts))
# Tokens of a chunk that are stored at once.
PIECE = 256


class QuantizedCache(base.Base):
    """Keeps tokens as codes of 8 or 4 bits once `residual` newer tokens follow them; approximate, within a derived bound.

    Keys are quantised per channel, in groups of `group` tokens, and values per token, in groups of `group` channels
    (arXiv:2402.02750). Groups of tokens begin at multiples of `group`, whatever the chunks were: a token is read unchanged
    until `residual` newer tokens follow its whole group, and from its codes after that. So outputs and bits are the same for any
    chunks. While they are read, codes are unpacked a part at a time.

    No key or value is off by more than half a scale. With scores off by at most e = scale |q|_1 max(key scales) / 2, an
    output is off by at most (exp(2 e) - 1) max |v| + max(value scales) / 2. With up to group + residual - 1 tokens nothing is
    quantised, and the result is exact.

    nbytes = kv_heads (q (ceil(head_dim bits / 8) + ceil(value_dim bits / 8)) + 2 s (q / group head_dim + q ceil(value_dim /
    group)) + (length - q) (head_dim + value_dim) itemsize), where q = group floor(max(0, length - residual) / group) and
    s = max(4, itemsize), times the leading axes.

    Raises:
        ValueError: NaN or inf in a token; truncating to a length inside a group of codes. What can be removed are the tokens that are
            not in codes, which are at least `residual`, and then whole groups.

    >>> cache = QuantizedCache(bits=4, group=2, residual=1)
    >>> x = np.arange(5.0).reshape(1, 5, 1)
    >>> cache.step(x * 0, x, x)[0, :, 0]
    array([0. , 0.5, 1. , 1.5, 2. ])
    >>> cache.nbytes
    120
    """

    exact = False
    _held: Tapes | None
    view = base.view

    def __init__(self, *, bits: int = 8, group: int = 32, residual: int = 32) -> None:
        super().__init__()
        if type(bits) is not int or bits not in BITS:
            raise ValueError(f"bits: expected 8 or 4, got {bits!r}")
        self.bits, self.group, self.residual = bits, whole("group", group, 1), whole("residual", residual, 0)

    def _settings(self) -> dict[str, int]:
        return {"bits": self.bits, "group": self.group, "residual": self.residual}

    def _quantised(self, length: Any) -> Any:
        """Returns how many of the first `length` tokens are stored as codes, for one length or an array of lengths."""
        return np.maximum(0, length - self.residual) // self.group * self.group

    def _packed(self, held: Tapes, name: str) -> Packed:
        """Returns the codes of the keys or values."""
        tapes = held.tapes
        codes, scale, zero = CODES[name]
        return Packed(tapes[codes].rows, tapes[scale].rows, tapes[zero].rows, self.bits, self.group, -2 if name == "keys" else -1,
                      tapes[name].buffer.shape[-1])

    def _checked(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Returns the keys and values of new tokens, all finite: NaN or inf would spoil a whole group when it is quantised."""
        held = self._held
        k, v = check_keys_values(k, v, held and held.like)
        for name, rows in (("k", k), ("v", v)):
            if not np.isfinite(rows).all():
                raise ValueError(f"{name}: expected finite numbers, got NaN or inf in shape {rows.shape}")
        return k, v

    def _coded(self, rows: Array, name: str) -> dict[str, Array]:
        """Returns the arrays of codes of keys or values, by the names of their tapes."""
        packed = quantize(rows, bits=self.bits, group=self.group, axis=-2 if name == "keys" else -1)
        return dict(zip(CODES[name], packed[:3], strict=True))

    def _empty(self, k: Array, v: Array) -> Tapes:
        """Returns a value without tokens, for keys and values like these."""
        arrays = {"keys": k, **self._coded(k[..., :0, :], "keys"), "values": v, **self._coded(v[..., :0, :], "values")}
        return Tapes({name: Tape.like(array) for name, array in arrays.items()}, 0)

    def _extended(self, held: Tapes, k: Array, v: Array) -> Tapes:
        """Returns a value with n more tokens, in which every group that is due is in codes."""
        tapes, length = dict(held.tapes), held.length + k.shape[-2]
        size = tapes["keys"].size
        due = max(0, int(self._quantised(length)) - (held.length - size))
        for name, rows in (("keys", k), ("values", v)):
            tape = tapes[name].extended(rows, max(size + rows.shape[-2], 3 * size))  # rows move once per 2 size tokens
            if due:
                tapes |= {part: tapes[part].extended(codes) for part, codes in self._coded(tape.rows[..., :due, :], name).items()}
                tape = tape.last(tape.size - due)
            tapes[name] = tape
        return Tapes(tapes, length)

    def _trimmed(self, held: Tapes) -> Tapes:
        most, tapes = 4 * (self.residual + self.group), held.tapes
        return Tapes({**tapes, **{name: tapes[name].last(NEVER, most) for name in CODES}}, held.length)

    def _appended(self, k: Array, v: Array) -> Tapes:
        k, v = self._checked(k, v)
        return self._extended(self._held or self._empty(k, v), k, v)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns the attention of its queries; each reads the codes as they were when its token was newest."""
        check_options("step", options, self._names)
        k, v = self._checked(k, v)
        n = k.shape[-2]
        check_chunk(q, n)
        q, held = self._fitting(q, k), self._held or self._empty(k, v)
        full, outs = (*q.shape[:-1], held.length + n), []
        for start in range(0, max(n, 1), PIECE):
            stop = min(start + PIECE, n)
            new = k[..., start:stop, :], v[..., start:stop, :]
            grown = self._extended(held, *new)
            rows = slice(max(0, q.shape[-2] - n + start), max(0, q.shape[-2] - n + stop))
            given = {name: option_of_queries(name, options[name], rows, grown.length, full)
                     for name in options.keys() & {"mask", "bias", "score"}}
            outs.append(self._attended_growing(q[..., rows, :], held, new, grown, options | given))
            held = grown
        out = outs[0] if len(outs) == 1 else np.concatenate(outs, axis=-2)
        self._held = self._trimmed(held)
        return out

    def _attended_growing(self, q: Array, held: Tapes, new: tuple[Array, Array], grown: Tapes, options: dict[str, Any]) -> Array:
        """Returns the attention of queries while groups become codes; each reads the codes as they were when its token was newest."""
        length, before = grown.length, held.low
        at = np.arange(length - q.shape[-2], length)
        if not at.size or max(before, self._quantised(at[0] + 1)) == grown.low:
            return self._attended(q, grown, options)

        def coded(i: Array) -> Array:
            return np.maximum(before, self._quantised(i + 1))

        rows = [np.concatenate((held.tapes[name].rows, x), axis=-2) for name, x in zip(CODES, new, strict=True)]
        near = Part(rows[0], rows[1], np.arange(before, length), lambda i, j: j >= coded(i))
        far = packed_parts(self._packed(grown, "keys"), self._packed(grown, "values"))
        return attend_parts(q, chain([near], (part._replace(sees=lambda i, j: j < coded(i)) for part in far)), length, **options)

    def _attended(self, q: Array, held: Tapes, options: dict[str, Any]) -> Array:
        keys, values = held.tapes["keys"].rows, held.tapes["values"].rows
        return quantized_attention(q, self._packed(held, "keys"), self._packed(held, "values"), keys, values, **options)

    def _viewed(self, held: Tapes) -> tuple[Array, Array, Array]:
        keys, values = (np.concatenate((dequantize(self._packed(held, name)).astype(rows.dtype), rows), axis=-2)
                        for name, rows in ((name, held.tapes[name].rows) for name in CODES))
        return keys, values, np.arange(held.length)

    def _truncated(self, held: Tapes, length: int) -> Tapes:
        coded = held.low
        if length < coded and length % self.group:
            raise ValueError(f"length: {coded} tokens are in codes, in groups of {self.group}; expected {coded} or more, or a "
                             f"multiple of {self.group}, got {length}")
        kept = {}
        for name, tape in held.tapes.items():
            if name in CODES:
                kept[name] = tape.without(min(tape.size, held.length - length))
            else:
                tokens = self.group if name in ("keys_scale", "keys_zero") else 1
                kept[name] = tape.without(max(0, tape.size - length // tokens))
        return Tapes(kept, length)

    def _loaded(self, arrays: dict[str, Array]) -> Tapes:
        return Tapes.of(arrays, NAMES)
