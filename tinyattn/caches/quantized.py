"""QuantizedCache: older tokens in 8 or 4 bits a number, the newest as they came."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.caches.asked import check_options
from tinyattn.caches.base import exclusive
from tinyattn.caches.protocol import check_chunk, check_tokens
from tinyattn.caches.reading import (
    narrowed,
    packed_parts,
    piece_of,
    quantized_attention,
    read_parts,
    seen_part,
    settled_bias,
    with_sinks,
)
from tinyattn.caches.tape import Tape
from tinyattn.caches.taped import Held, Taped
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.merge import merge
from tinyattn.ops.options import check_window
from tinyattn.ops.quantize import BITS, Packed, dequantize, quantize
from tinyattn.ops.types import Array

CODES = ("codes", "scale", "zero")
# Tokens of a chunk that are taken in at once.
PIECE = 256


class QuantizedCache(Taped):
    """Keeps tokens as codes of 8 or 4 bits once `residual` newer ones stand behind them; approximate, within a derived bound.

    Keys are quantised by channel, each in groups of `group` tokens, and values by token, each in groups of `group`
    channels (arXiv:2402.02750). Groups of tokens begin at multiples of `group`, whatever the chunks were: a token is
    read as it came while fewer than `residual` newer ones, or its whole group's, stand behind it, and in codes from then on,
    so that outputs and bits are the same for any chunks. Codes are unpacked a part at a time while they are read.

    No key or value is off by more than half a scale. With scores off by at most e = scale |q|_1 max(key scales) / 2, an
    output is off by at most (exp(2 e) - 1) max |v| + max(value scales) / 2. Up to group + residual - 1 tokens nothing is.

    nbytes = kv_heads (q (ceil(head_dim bits / 8) + ceil(value_dim bits / 8)) + 2 s (q / group head_dim + q ceil(value_dim /
    group)) + (length - q) (head_dim + value_dim) itemsize), where q = group floor(max(0, length - residual) / group) and
    s = max(4, itemsize), times the leading axes.

    Raises:
        ValueError: NaN or inf in a token; truncating to where codes would have to be cut: tokens that are not in codes can go,
            `residual` at least, and then whole groups.

    >>> cache = QuantizedCache(bits=4, group=2, residual=1)
    >>> x = np.arange(5.0).reshape(1, 5, 1)
    >>> cache.step(x * 0, x, x)[0, :, 0]
    array([0. , 0.5, 1. , 1.5, 2. ])
    >>> cache.nbytes
    120
    """

    exact = False
    names = tuple(name + part for name in ("keys", "values") for part in ("", *(f"_{code}" for code in CODES)))

    def __init__(self, *, bits: int = 8, group: int = 32, residual: int = 32) -> None:
        super().__init__()
        if type(bits) is not int or bits not in BITS:
            raise ValueError(f"bits: expected 8 or 4, got {bits!r}")
        self.bits, self.group, self.residual = bits, whole("group", group, 1), whole("residual", residual, 0)

    def _settings(self) -> dict[str, int]:
        return {"bits": self.bits, "group": self.group, "residual": self.residual}

    def _quantised(self, length: Any) -> Any:
        """Returns how many of so many tokens are in codes; of one length or of an array of them."""
        return np.maximum(0, length - self.residual) // self.group * self.group

    def _packed(self, held: Held, name: str) -> Packed:
        """Returns the codes of the keys or values."""
        codes, scale, zero = (held.tapes[f"{name}_{part}"].rows for part in CODES)
        return Packed(codes, scale, zero, self.bits, self.group, -2 if name == "keys" else -1, held.tapes[name].buffer.shape[-1])

    def _checked(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Returns the keys and values of new tokens, all finite: one that is not would spoil a group when its turn comes."""
        k, v = check_tokens(k, v, self._kept())
        for name, rows in (("k", k), ("v", v)):
            if not np.isfinite(rows).all():
                raise ValueError(f"{name}: expected finite numbers, got NaN or inf in shape {rows.shape}")
        return k, v

    def _empty(self, k: Array, v: Array) -> Held:
        """Returns a value without tokens of this kind."""
        tapes: dict[str, Tape] = {}
        for name, rows, axis in (("keys", k, -2), ("values", v, -1)):
            packed = quantize(rows[..., :0, :], bits=self.bits, group=self.group, axis=axis)
            tapes[name] = Tape.like(rows)
            tapes |= {f"{name}_{part}": Tape.like(codes) for part, codes in zip(CODES, packed[:3], strict=True)}
        return Held(tapes, 0)

    def _extended(self, held: Held, k: Array, v: Array) -> Held:
        """Returns a value with n more tokens, those in codes that are due."""
        tapes, length = dict(held.tapes), held.length + k.shape[-2]
        due = max(0, int(self._quantised(length)) - coded(held))
        for name, rows, axis in (("keys", k, -2), ("values", v, -1)):
            size = tapes[name].size
            tape = tapes[name] = tapes[name].extended(rows, max(size + rows.shape[-2], 3 * size))  # moved once in 2 size tokens
            if not due:
                continue
            packed = quantize(tape.rows[..., :due, :], bits=self.bits, group=self.group, axis=axis)
            tapes |= {f"{name}_{part}": tapes[f"{name}_{part}"].extended(codes) for part, codes in zip(CODES, packed[:3], strict=True)}
            tapes[name] = tape.last(tape.size - due)
        return Held(tapes, length)

    def _grown(self, k: Array, v: Array) -> Held:
        k, v = self._checked(k, v)
        return self._extended(self._held or self._empty(k, v), k, v)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read, each of them what was in codes when it stood last."""
        check_options("step", options, self._names)
        k, v = self._checked(k, v)
        check_chunk(q, k.shape[-2])
        q = self._fitting(q, k)
        held, n = self._held or self._empty(k, v), k.shape[-2]
        end, outs = held.length + n, []
        for start in range(0, max(n, 1), PIECE):
            stop = min(start + PIECE, n)
            piece = k[..., start:stop, :], v[..., start:stop, :]
            grown = self._extended(held, *piece)
            rows = slice(max(0, q.shape[-2] - n + start), max(0, q.shape[-2] - n + stop))
            given = {name: piece_of(name, options[name], rows, grown.length, (*q.shape[:-1], end)) for name in ("mask", "bias")
                     if name in options}
            outs.append(self._read_on(q[..., rows, :], held, piece, grown, options | given))
            held = grown
        out = np.concatenate(outs, axis=-2)
        self._held = self._settled(held)
        return out

    def _read_on(self, q: Array, held: Held, piece: tuple[Array, Array], grown: Held, options: dict[str, Any]) -> Array:
        """Returns what the queries of a piece read, each of them what was in codes when it stood last."""
        at, before = np.arange(grown.length - q.shape[-2], grown.length), coded(held)
        if not at.size or max(before, self._quantised(at[0] + 1)) == coded(grown):
            return self._read(q, grown, options)

        def old(i: Array) -> Array:
            return np.maximum(before, self._quantised(i + 1))

        options = dict(options)
        mask, sinks, length = options.pop("mask", None), options.pop("sinks", None), grown.length
        options["bias"] = settled_bias(options.get("bias"), q, length, lambda: seen_part(
            mask, check_window(options.get("window"))[0], at, np.arange(length)))
        fine = [np.concatenate((held.tapes[name].rows, new), axis=-2) for name, new in zip(("keys", "values"), piece, strict=True)]
        near = read_parts(q, [(fine[0], fine[1], np.arange(before, length))], at, length,
                          mask=narrowed(mask, Pattern(lambda i, j: j >= old(i)), at, length), **options)
        far = read_parts(q, packed_parts(self._packed(grown, "keys"), self._packed(grown, "values")), at, length,
                         mask=narrowed(mask, Pattern(lambda i, j: j < old(i)), at, length), **options)
        return with_sinks(merge(near, far), sinks).astype(q.dtype, copy=False)

    def _settled(self, held: Held) -> Held:
        most = 4 * (self.residual + self.group)
        fitted = {name: held.tapes[name].fitted(most) for name in ("keys", "values")}
        return held._replace(tapes=held.tapes | fitted)

    def _read(self, q: Array, held: Held, options: dict[str, Any]) -> Array:
        recent = (held.tapes[name].rows for name in ("keys", "values"))
        return quantized_attention(q, self._packed(held, "keys"), self._packed(held, "values"), *recent, **options)

    def _seen(self, held: Held) -> tuple[Array, Array, Array]:
        """Returns all tokens as numbers, a copy."""
        keys, values = (np.concatenate((dequantize(self._packed(held, name)).astype(rows.dtype), rows), axis=-2)
                        for name, rows in ((name, held.tapes[name].rows) for name in ("keys", "values")))
        return keys, values, np.arange(held.length)

    def _cut(self, length: int) -> Held | None:
        held = self._held
        if held is None:
            return None
        done = coded(held)
        if length < done and length % self.group:
            raise ValueError(f"length: {done} tokens are in codes, in groups of {self.group}; expected {done} or more, or a multiple "
                             f"of {self.group}, got {length}")
        kept = {}
        for name, tape in held.tapes.items():
            if name in ("keys", "values"):
                kept[name] = tape.without(min(tape.size, held.length - length))
            else:
                tokens = self.group if name in ("keys_scale", "keys_zero") else 1
                kept[name] = tape.without(max(0, tape.size - length // tokens))
        return Held(kept, length)


def coded(held: Held) -> int:
    """Returns how many tokens are in codes."""
    return held.length - held.tapes["keys"].size
