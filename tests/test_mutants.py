"""The mutation script changes what runs, and nothing that only reads."""

import importlib.util
from pathlib import Path

spec = importlib.util.spec_from_file_location("mutation_script", Path(__file__).parent / "mutants.py")
mutation_script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutation_script)

SOURCE = b'''"""Docstring 1 + 1."""
from typing import Any
__all__ = ["f"]
Pair = tuple[int, 3]


@decorated(size=4)
def f(a: "1 + 1", b: int = 2, *, c: bool = True) -> tuple[int, 5]:
    """Docstring 2 < 3."""
    if a <= b and not g(a, 7, keep=c):
        raise ValueError(f"a: {a + 1}" + "b", 9)
    x: tuple[int, 6] = a - -b
    return f(x, b) if check(x) else x is None


def g(a, b=8, keep=False):
    return [i for i in a if i]
'''


def test_every_kind_of_change_is_made_and_no_text_or_type_is_touched() -> None:
    edits = mutation_script.Edits(SOURCE)
    made = sorted((SOURCE.count(b"\n", 0, start) + 1, SOURCE[start:stop].decode(), text) for start, stop, text in edits.walk(edits.tree))
    assert made == [
        (8, "2", "3"), (8, "True", "False"),
        (10, ", 7", ""), (10, ", keep=c", ""), (10, "7", "8"), (10, "<=", "<"), (10, "and", "or"), (10, "not", ""),
        (12, "-", ""), (12, "-", "+"),
        (13, ", b", ""), (13, "check(x)", "not check(x)"), (13, "is", "is not"),
        (16, "8", "9"), (16, "False", "True"), (17, "i", "not i")]


def test_the_draw_is_the_same_every_time_and_every_mutant_is_another_source() -> None:
    first, second = (mutation_script.drawn(40, 1) for _ in range(2))
    assert first == second
    assert len({mutant.name for mutant in first}) == 40
    for mutant in first:
        before = (mutation_script.ROOT / "tinyattn" / mutant.module).read_bytes()
        assert mutation_script.broken(mutant) != before
        assert before.splitlines()[mutant.line - 1].split()
