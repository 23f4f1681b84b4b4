"""Which law detects which fault: the laws of a row tried on the twins of that row."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tinyattn.catalog import ROWS, Row, caches, find
from tinyattn.catalog.caches import CacheRow
from tinyattn.laws import Law, check
from tinyattn.laws.problem import Mechanism
from tinyattn.testing.broken import MUSEUM, Twin

EXAMPLES = 40


def row_of(twin: Twin) -> Row | CacheRow:
    """Returns the twin's row, that of a mechanism or of a cache."""
    return find(twin.row) if twin.cache is None else caches.find(twin.row)


def laws_on(twin: Twin) -> tuple[Law, ...]:
    """Returns the laws of the twin's row, with the twin's own cache if it has one."""
    return find(twin.row).laws if twin.cache is None else caches.find(twin.row).laws_of(twin.cache)


def killed(twin: Twin, law: Law, *, seed: int = 0, examples: int = EXAMPLES, mechanism: Mechanism | None = None) -> bool:
    """Returns whether a law detects a twin, built on the row's definition or on another mechanism.

    A crash does not count, since it would be noticed without a law.
    """
    row = row_of(twin)
    broken = twin.breaks(row.mechanism if mechanism is None else mechanism)
    with np.errstate(all="ignore"):
        report = check(law.fitted(row.fit), broken, honest=row.mechanism, rng=np.random.default_rng(seed), examples=examples)
    return not report.holds and not report.crashed


def kills(museum: Iterable[Twin] = MUSEUM, *, seed: int = 0, examples: int = EXAMPLES,
          tell: Callable[[Twin], None] = lambda twin: None) -> dict[str, dict[str, bool]]:
    """Returns by the name of each twin, a wrong implementation, which laws detect it; `tell` is called with each one that is done.

    >>> matrix = kills([twin for twin in MUSEUM if twin.name == "windows_of_the_text"], examples=4)
    >>> matrix["windows_of_the_text"]["equals_ragged_windows"], matrix["windows_of_the_text"]["inputs_are_not_written"]
    (True, False)
    """
    matrix = {}
    for twin in museum:
        matrix[twin.name] = {law.name: killed(twin, law, seed=seed, examples=examples) for law in laws_on(twin)}
        tell(twin)
    return matrix


def render(matrix: Mapping[str, Mapping[str, bool]], museum: Iterable[Twin] = MUSEUM, *, room: int = 80) -> str:
    """Returns the matrix as text: laws down and twins across, in tables of lines of at most `room` characters.

    ● a law about the twin's fault detects it, ○ another law detects it, · the law does not, ! a law about its fault does not.

    >>> matrix = {"windows_of_the_text": {law.name: False for law in find("locally grouped attention").laws}}
    >>> print(render(matrix).splitlines()[0])
    locally_grouped_attention: 12 laws, wrong versions: 1
    """
    own = {twin.name: twin.killed_by for twin in museum}
    sign = {(True, True): "●", (False, True): "○", (False, False): "·", (True, False): "!"}
    parts = []
    rows: tuple[Row | CacheRow, ...] = (*ROWS, *caches.ROWS)
    for row in rows:
        twins = [twin for twin in museum if twin.row == row.name and twin.name in matrix]
        if not twins:
            continue
        width = max(len(law.name) for law in row.laws)
        lines = [f"{row.name}: {len(row.laws)} laws, wrong versions: {len(twins)}"]
        lines += [textwrap.fill(f"{n:>3}  {twin.name}: {twin.says}", room, subsequent_indent=" " * 5, break_long_words=False,
                                break_on_hyphens=False) for n, twin in enumerate(twins, 1)]
        across = max((room - width) // 4, 1)
        for start in range(0, len(twins), across):
            shown = twins[start : start + across]
            lines += ["", " " * width + "".join(f"{n:>4}" for n in range(start + 1, start + len(shown) + 1))]
            for law in row.laws:
                cells = (sign[law.name in own[twin.name], matrix[twin.name][law.name]] for twin in shown)
                lines.append(f"{law.name:<{width}}" + "".join(f"{cell:>4}" for cell in cells))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
