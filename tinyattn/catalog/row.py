"""A row of the catalog: everything the library knows of one mechanism, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyattn.laws.law import Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.layers.attention import SelfAttention
from tinyattn.layers.inputs import Input, Parameter
from tinyattn.ops.masks.pattern import Pattern


@dataclass(frozen=True)
class Paper:
    """Where a mechanism was published."""

    authors: str
    year: int
    arxiv: str

    def __str__(self) -> str:
        return f"{self.authors} {self.year}, arXiv:{self.arxiv}"


@dataclass(frozen=True)
class BadInput:
    """A call that must be refused: arguments changed in a good problem, the error, and words it must hold."""

    changes: Mapping[str, Any]
    error: type[Exception]
    words: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """One mechanism: definition, other forms, cache, paper, laws, and the inputs that it takes and refuses.

    `kernel` names the function of `tinyattn.kernels` that is this one, fast. `mixer(q, k, v, causal=True)` is how a
    decoder layer calls it, or None where it cannot be a causal token mixer; `cache` makes one cache a layer;
    `cache_bytes(length, kv_heads, head_dim, value_dim, itemsize)` is the closed formula of its size. `sample(rng, sizes)`
    draws a problem, `fit` the sizes it takes. `inputs` are the arguments that a layer computes from the tokens or learns,
    `rotates` is whether the mechanism places its tokens itself, `layer` makes the layer around it, and `called` makes
    f(q, k, v, **options) of a definition that has other arguments. `pattern` is who sees whom, where that can be drawn.
    """

    name: str
    says: str
    definition: Mechanism
    papers: tuple[Paper, ...]
    kind: str
    cost: str
    sample: Callable[[np.random.Generator, Sizes], Problem]
    laws: tuple[Law, ...]
    bad_inputs: tuple[BadInput, ...]
    aliases: tuple[str, ...] = ()
    forms: Mapping[str, Mechanism] = field(default_factory=dict)
    kernel: str | None = None
    dtypes: tuple[str, ...] = ("float64", "float32", "float16")
    inputs: tuple[Input | Parameter, ...] = ()
    rotates: bool = False
    layer: Callable[..., Any] = SelfAttention.create
    called: Callable[[Mechanism], Mechanism] = lambda mechanism: mechanism
    fit: Callable[[Sizes], Sizes] = lambda sizes: sizes
    mixer: Mechanism | None = None
    cache: Callable[[], Any] | None = None
    cache_bytes: Callable[[int, int, int, int, int], int] | None = None
    cache_formula: str = "none"
    pattern: Pattern | None = None

    @property
    def mechanism(self) -> Mechanism:
        """The definition as the laws call it: f(q, k, v, **options)."""
        return self.called(self.definition)

    @property
    def mixing(self) -> dict[str, Any]:
        """What a decoder takes to mix its tokens by this mechanism; ValueError if it is no causal token mixer."""
        if self.mixer is None:
            raise ValueError(f"{self.name}: is no causal token mixer of its own; see tinyattn list")
        return {"mechanism": self.mixer, "inputs": self.inputs, "rotary": not self.rotates, "layer": self.layer}

    def __post_init__(self) -> None:
        for name in ("laws", "dtypes", "bad_inputs", "papers", "says"):
            if not getattr(self, name):
                raise ValueError(f"{self.name}: a row needs {name}; nothing enters the catalog without them")
        if self.kind not in ("exact", "approximate"):
            raise ValueError(f"{self.name}: kind is 'exact' or 'approximate', got {self.kind!r}")
        if self.mixer is not None and (self.cache is None or self.cache_bytes is None):
            raise ValueError(f"{self.name}: a causal token mixer needs a cache and its bytes")
