"""A twin: a mechanism with one fault in it, and the laws that must detect it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyattn.laws.problem import Mechanism, Problem

Fault = Callable[[Mechanism, Problem], Any]


@dataclass(frozen=True, eq=False)
class Twin:
    """One bug that people shipped: `fault(f, problem)` gives what a mechanism f with this bug would give.

    `killed_by` are the laws about this very fault; each must fail on the twin. `row` is the catalog row whose laws
    are tried, of a mechanism or, with `cache`, which makes a wrong cache in the place of a wrong mechanism, of a cache.
    """

    name: str
    says: str
    killed_by: tuple[str, ...]
    fault: Fault
    row: str = "attention"
    cache: Callable[..., Any] | None = None

    def breaks(self, mechanism: Mechanism) -> Mechanism:
        """Returns the mechanism, a definition or a kernel, with the fault in it."""
        def broken(q: Any, k: Any, v: Any, **options: Any) -> Any:
            return self.fault(mechanism, Problem(q, k, v, options))

        return broken


def twin(*killed_by: str, row: str = "attention") -> Callable[[Fault], Twin]:
    """Makes a Twin of a fault, with the fault's name and the first sentence of its docstring."""
    return lambda fault: Twin(fault.__name__, (inspect.getdoc(fault) or "").split("\n")[0], killed_by, fault, row)
