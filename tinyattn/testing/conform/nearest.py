"""The nearest known bug: which wrong kernel of the museum gives the same wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tinyattn.definitions import attention, attention_with_lse
from tinyattn.laws.budget import Budget
from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array
from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.conform.dialect import spoken

LOOKS, PERHAPS = 0.4, 0.1
NONE = "none of the known bugs gives these answers"
UNKNOWN = "the time limit was reached before the answers were compared with all known bugs"
Tried = tuple[Problem, tuple[Array, ...], Budget]


def nearest_bug(failed: Sequence[Tried], passed: Sequence[Tried], dialect: Mapping[str, str],
                late: Callable[[], bool]) -> str:
    """Returns a sentence that names the twin of the museum that explains most of the failures and, of equals, most passes.

    A twin explains a problem if its answer is the kernel's, within the budget of the problem. Once `late` nothing is compared.
    """
    if not failed:
        return UNKNOWN if late() else NONE
    ranked, both = [], len(failed[0][1]) > 1
    core, rows = (attention_with_lse if both else attention), ("attention", "attention_with_lse" if both else "streaming_attention")
    for twin in MUSEUM:
        if twin.row in rows and twin.cache is None:
            broken = twin.breaks(spoken(dialect, core))
            hit = [explains(broken, tried) for tried in failed if not late()]
            if any(hit):
                kept = [explains(broken, tried) for tried in passed if not late()]
                ranked.append((float(np.mean(hit)), float(np.mean(kept)) if kept else 1.0, twin.name, twin.says))
    if late():
        return UNKNOWN
    ranked.sort(key=lambda row: (-row[0], -row[1]))
    if not ranked or ranked[0][0] < PERHAPS:
        return NONE
    share, keeps, name, says = ranked[0]
    return (f"{'looks like' if share >= LOOKS else 'perhaps'} the known bug `{name}`, which gives the same answers in "
            f"{100 * share:.0f} % of the failures and {100 * keeps:.0f} % of the passes: {says}")


def explains(broken: object, tried: Tried) -> bool:
    """Returns whether a wrong kernel gives this answer within the budget."""
    problem, got, budget = tried
    try:
        with np.errstate(all="ignore"):
            out = problem.call(broken)  # type: ignore[arg-type]
    except (ValueError, TypeError, IndexError, ArithmeticError):
        return False
    outs = tuple(np.asarray(x) for x in (out if isinstance(out, tuple) else (out,)))
    return [x.shape for x in outs] == [x.shape for x in got] and budget.spent(got, outs) <= 1.0
