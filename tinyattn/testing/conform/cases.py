"""Cases: one call each, described by a seed, sizes and options, so that a few lines of NumPy can make it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyattn.laws.precision import rounded
from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array

OPTIONS = ("causal", "window", "mask", "bias", "scale", "softcap", "sinks")
WINDOWS = ((2, 0), (1, 1), (5, 0), (0, 0), (None, 1), (3, None))
# What a kernel may lack without being wrong, and what its absence means.
FEATURES = {"groups": "query heads that share a kv head", "lengths": "other numbers of queries than of keys",
            "widths": "values of another width than keys"}
# The lengths that kernels tile by, from both sides; a pair of each is drawn, as a library may compile every shape anew.
EDGES = ((15, 17), (33, 31), (64, 64), (63, 65), (127, 129), (1, 128), (257, 256), (7, 95))
LONG = (9, 1500)
# The factor of the queries and what is added to keys and values.
REGIMES = ((1.0, 0.0), (4.0, 0.0), (1.0, 3.0), (1e-3, 0.0), (2.0, 0.0))
# batch, kv_heads, groups, q_len, kv_len.
FEW = ((1, 2, 2, 5, 8), (2, 3, 1, 4, 2))


@dataclass(frozen=True)
class Case:
    """One call: everything that its arrays and options are made from.

    `options` are pairs of a name and what it is made from: the number itself, for a mask the number below which keys are visible, for
    other arrays their factor.
    """

    seed: int
    batch: int = 1
    kv_heads: int = 2
    groups: int = 2
    q_len: int = 3
    kv_len: int = 5
    head_dim: int = 8
    value_dim: int = 8
    spread: float = 1.0
    offset: float = 0.0
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def heads(self) -> int:
        """The number of query heads."""
        return self.kv_heads * self.groups

    @property
    def sizes(self) -> str:
        """The sizes in words."""
        counts = {"query": self.q_len, "key": self.kv_len, "query head": self.heads, "key head": self.kv_heads}
        return ", ".join(f"{n} {'queries' if n != 1 and name == 'query' else name + 's' * (n != 1)}" for name, n in counts.items())

    def array(self, which: int, shape: tuple[int, ...]) -> Array:
        """Returns standard normal numbers, the same for the same seed, array and shape."""
        return np.random.default_rng((self.seed, which)).standard_normal(shape)

    def problem(self, dtype: str) -> Problem:
        """Returns the arguments of the call, float64 arrays of numbers that `dtype` can hold."""
        q = self.spread * self.array(0, (self.batch, self.heads, self.q_len, self.head_dim))
        k = self.offset + self.array(1, (self.batch, self.kv_heads, self.kv_len, self.head_dim))
        v = self.offset + self.array(2, (self.batch, self.kv_heads, self.kv_len, self.value_dim))
        given = {name: self.option(name, value) for name, value in self.options}
        problem = Problem(q, k, v, given)
        return problem if dtype == "float64" else problem.map(lambda x: rounded(x.astype(np.float32), dtype).astype(np.float64))

    def option(self, name: str, value: Any) -> Any:
        """Returns one option as the kernel gets it."""
        if name == "mask":
            return self.array(3, (self.q_len, self.kv_len)) < value
        if name == "bias":
            return value * self.array(4, (self.q_len, self.kv_len))
        return value * self.array(5, (self.heads,)) if name == "sinks" else value

    def only(self, names: Sequence[str]) -> Case:
        """Returns the case with these options alone."""
        return replace(self, options=tuple(pair for pair in self.options if pair[0] in names))


@dataclass(frozen=True)
class Room:
    """What cases may be.

    Whether the arrays have axes for a batch and for heads, whether query heads may share a kv head, whether there may be more
    keys than queries or fewer, whether values may be of another width than keys, whether a side of a window may be None,
    whether it may hold keys to the right, and whether shapes are few, as for a library that compiles each of them.
    """

    batch: bool = True
    heads: bool = True
    groups: bool = True
    lengths: bool = True
    widths: bool = True
    open_windows: bool = True
    right_windows: bool = True
    few: bool = False


def draw(rng: np.random.Generator, number: int, options: Sequence[str], room: Room) -> Case:
    """Returns the number-th case of a run: mostly small ones, every fourth with lengths around those that kernels tile by."""
    small, at = number % 4 != 3, number // 4
    edges = (*(EDGES[3:4] if room.few else EDGES), *([LONG] if room.lengths else []))
    lengths = (int(rng.choice([1, 2, 4, 5, 8])), int(rng.choice([1, 2, 4, 7, 8, 13]))) if small else edges[at % len(edges)]
    width = 8 if small else 32
    given = tuple((name, value_of(name, rng, room)) for name in options if rng.random() < 0.5)
    case = Case(int(rng.integers(1 << 30)), batch=int(rng.choice([1, 2])), kv_heads=int(rng.choice([1, 2, 3])),
                groups=int(rng.choice([1, 2, 3])), q_len=lengths[0], kv_len=lengths[1], head_dim=width,
                value_dim=int(rng.choice([4, width])), options=given)
    spread, offset = REGIMES[int(rng.integers(len(REGIMES)))]
    case = replace(case, spread=spread, offset=offset)
    if room.few:
        batch, kv_heads, groups, q_len, kv_len = FEW[number % len(FEW)] if small else (1, 2, 2, *lengths)
        case = replace(case, batch=batch, kv_heads=kv_heads, groups=groups, q_len=q_len, kv_len=kv_len, value_dim=width)
    return replace(case, batch=case.batch if room.batch else 1, kv_heads=case.kv_heads if room.heads else 1,
                   groups=case.groups if room.heads and room.groups else 1,
                   q_len=case.q_len if room.lengths else case.kv_len, value_dim=case.value_dim if room.widths else width)


def value_of(name: str, rng: np.random.Generator, room: Room) -> Any:
    """Returns what an option is made from."""
    if name == "causal":
        return True
    if name == "window":
        windows = [sides for sides in WINDOWS
                   if (room.open_windows or None not in sides) and (room.right_windows or sides[1] == 0)]
        return windows[int(rng.integers(len(windows)))]
    return float(rng.choice({"scale": [0.25, 1.0], "softcap": [0.7, 3.0], "mask": [0.5, 1.0], "sinks": [1.0, 8.0]}.get(name, [1.0])))


def smaller(case: Case, room: Room) -> list[Case]:
    """Returns the cases that are a little smaller, those that help a reader most first."""
    found = [case.only([name for name, _ in case.options if name != dropped]) for dropped, _ in case.options]
    for size in ("kv_len", "q_len", "groups", "kv_heads", "batch"):
        have = getattr(case, size)
        also = {"q_len"} if size == "kv_len" and not room.lengths else set()
        if size != "q_len" or room.lengths:
            found += [replace(case, **dict.fromkeys({size, *also}, fewer))
                      for fewer in dict.fromkeys((1, have // 2, have - have // 8, have - 1)) if 0 < fewer < have]
    if case.spread != 1.0 or case.offset:
        found.append(replace(case, spread=1.0, offset=0.0))
    if case.head_dim > 8 or case.value_dim > 8:
        found.append(replace(case, head_dim=8, value_dim=8))
    return found
