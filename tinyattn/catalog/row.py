"""A row of the catalog: everything the library knows about one mechanism, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.catalog.cache_size import CacheSize
from tinyattn.laws.general import definition_first
from tinyattn.laws.law import Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.layers.attention import SelfAttention
from tinyattn.layers.inputs import Input, Parameter
from tinyattn.ops.masks.pattern import Pattern


@dataclass(frozen=True)
class Paper:
    """The paper in which a mechanism was published.

    >>> print(Paper("Vaswani et al.", 2017, "1706.03762"))
    Vaswani et al. 2017, arXiv:1706.03762
    """

    authors: str
    year: int
    arxiv: str

    def __str__(self) -> str:
        return f"{self.authors} {self.year}, arXiv:{self.arxiv}"


@dataclass(frozen=True)
class BadInput:
    """A call that must be refused: the arguments to change in a valid problem, the error, and words that it must contain.

    >>> BadInput({"scale": float("nan")}, ValueError, ("scale", "nan")).error.__name__
    'ValueError'
    """

    changes: Mapping[str, Any]
    error: type[Exception]
    words: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One mechanism: its definition, other forms, cache, papers, laws, and the inputs that it takes and refuses.

    `name` is the definition's unless another is given. `kind` is exact, or approximate for what approximates attention.
    `sample(rng, sizes)` draws a problem and `fit` changes sizes to those that the mechanism takes. `called` turns a
    definition with other arguments into f(q, k, v, **options). `mixer(q, k, v, causal=True)` is the mechanism as a decoder
    layer calls it, None if it cannot mix the tokens of a decoder; `cache` makes its cache for one layer, whose bytes
    `cache_size` gives. `inputs` are the arguments that a layer computes from the tokens or learns, `rotates` says that the
    mechanism applies positions itself, and `layer` makes the layer around it. `pattern` shows which query sees which key,
    where that can be drawn. `rounded_as` are right ways to compute it that round in other places than the definition, as its
    kernels do: they set the budgets of its laws too. The laws begin with those that compare with the definition, which the row
    adds to its own.

    >>> from tinyattn.catalog import find
    >>> row = find("multi-query attention")
    >>> row.aliases, row.kind, row.cache_formula
    (('mqa',), 'exact', 'length (head_dim + value_dim) itemsize')
    """

    definition: Mechanism
    says: str
    papers: tuple[Paper, ...]
    cost: str
    sample: Callable[[np.random.Generator, Sizes], Problem]
    laws: tuple[Law, ...]
    bad_inputs: tuple[BadInput, ...]
    name: str = ""
    kind: str = "exact"
    aliases: tuple[str, ...] = ()
    forms: Mapping[str, Mechanism] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")
    inputs: tuple[Input | Parameter, ...] = ()
    rotates: bool = False
    layer: Callable[..., Any] = SelfAttention.create
    called: Callable[[Mechanism], Mechanism] = lambda mechanism: mechanism
    fit: Callable[[Sizes], Sizes] = lambda sizes: sizes
    rounded_as: tuple[Mechanism, ...] = ()
    mixer: Mechanism | None = None
    cache: Callable[[], Any] | None = None
    cache_size: CacheSize | None = None
    pattern: Pattern | None = None

    @property
    def kernel(self) -> str | None:
        """The name of its kernel in `tinyattn.kernels`; None where the definition serves at every size."""
        return self.name if hasattr(fastest, self.name) else None

    @property
    def fast(self) -> Mechanism:
        """Its fastest form, `tinyattn.NAME`, as the laws call it: f(q, k, v, **options)."""
        return self.called(getattr(fastest, self.name, self.definition))

    @property
    def mechanism(self) -> Mechanism:
        """The definition as the laws call it: f(q, k, v, **options)."""
        return self.called(self.definition)

    @property
    def cache_bytes(self) -> Callable[..., int] | None:
        """The function (length, kv_heads, head_dim, value_dim, itemsize, heads=kv_heads) -> bytes of the cache, None without one."""
        return None if self.cache_size is None else self.cache_size.of

    @property
    def cache_formula(self) -> str:
        """The same function as a formula, "none" without a cache."""
        return "none" if self.cache_size is None else self.cache_size.formula

    @property
    def mixing(self) -> dict[str, Any]:
        """The arguments with which a decoder mixes its tokens by this mechanism; ValueError if it cannot."""
        if self.mixer is None:
            raise ValueError(f"{self.name}: is not a causal token mixer of its own; see tinyattn list")
        return {"mechanism": self.mixer, "inputs": self.inputs, "rotary": not self.rotates, "layer": self.layer}

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.definition.__name__)
        for name in ("laws", "dtypes", "bad_inputs", "papers", "says"):
            if not getattr(self, name):
                raise ValueError(f"{self.name}: a row needs {name}; nothing enters the catalog without them")
        if self.kind not in ("exact", "approximate"):
            raise ValueError(f"{self.name}: kind is 'exact' or 'approximate', got {self.kind!r}")
        if self.mixer is not None and (self.cache is None or self.cache_size is None):
            raise ValueError(f"{self.name}: a mechanism with a mixer needs a cache and its size")
        laws = definition_first(self.mechanism, self.sample, self.laws)
        object.__setattr__(self, "laws", tuple(replace(law, rounded_as=self.rounded_as) for law in laws) if self.rounded_as else laws)
