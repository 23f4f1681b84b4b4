"""Mutation testing on request: changes the library in small ways, one at a time, and sees whether the tests of that area fail.

`python tests/mutants.py` draws 300 mutants and writes one line per mutant into tests/mutants.txt; started again, it goes on
where it was. A survivor that changes nothing is marked by hand: `equivalent` in the second column, and why in the last.
"""

import argparse
import ast
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "mutants.txt"
AREAS = {"ops/masks": ["tests/ops/masks"], "ops/positions": ["tests/ops/test_positions.py", "tests/ops/test_frequencies.py"],
         "ops/files": ["tests/ops/files"], "ops": ["tests/ops", "tests/definitions"], "engine": ["tests/engine"],
         "definitions": ["tests/definitions", "tests/laws"], "caches": ["tests/caches"], "models": ["tests/models"],
         "laws": ["tests/laws", "tests/testing", "tests/caches/test_laws.py"]}
# A mutant that never ends is caught. Processor time, not the clock, so that a busy machine catches no more than a free one.
CPU_SECONDS, MEMORY = 600, 12 << 30
OPERATORS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "/"),
             ast.Mod: ("%", "*"), ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.LShift: ("<<", ">>"),
             ast.RShift: (">>", "<<"), ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
             ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
             ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.And: ("and", "or"), ast.Or: ("or", "and")}


class Mutant(NamedTuple):
    """One change of one module: the bytes from start to stop become `text`; old and new are the lines as they read."""

    module: str
    line: int
    start: int
    stop: int
    text: str
    old: str
    new: str

    @property
    def name(self) -> tuple[str, str]:
        return self.module, f"{self.old}  =>  {self.new}"


class Edits:
    """Finds the changes that can be made to one source file, as (start, stop, text) in bytes."""

    def __init__(self, source: bytes) -> None:
        self.source, self.tree = source, ast.parse(source)
        lines = source.splitlines(keepends=True)
        self.offsets = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
        self.defaults = {f.name: len(f.args.args) - len(f.args.defaults) for f in self.tree.body
                         if isinstance(f, ast.FunctionDef) and f.args.defaults}

    def start(self, node: ast.AST) -> int:
        return self.offsets[node.lineno - 1] + node.col_offset

    def stop(self, node: ast.AST) -> int:
        return self.offsets[node.end_lineno - 1] + node.end_col_offset

    def between(self, left: ast.AST, right: ast.AST, operator: ast.AST) -> Iterator[tuple[int, int, str]]:
        """Yields the operator between two operands as another one."""
        if type(operator) in OPERATORS:
            old, new = OPERATORS[type(operator)]
            at = self.source.find(old.encode(), self.stop(left), self.start(right))
            if at >= 0:
                yield at, at + len(old), new

    def arguments(self, call: ast.Call) -> Iterator[tuple[int, int, str]]:
        """Yields the call without one keyword, or without the last argument that the function has a default for."""
        parts = sorted([*call.args, *call.keywords], key=self.start)
        for n, part in enumerate(parts):
            optional = isinstance(call.func, ast.Name) and n == len(call.args) - 1 >= self.defaults.get(call.func.id, n + 1)
            if (isinstance(part, ast.keyword) and part.arg is not None) or (part in call.args and optional):
                yield (self.stop(parts[n - 1]) if n else self.start(part)), self.stop(part), ""

    def of(self, node: ast.AST) -> Iterator[tuple[int, int, str]]:
        """Yields the changes at one node."""
        if isinstance(node, ast.BinOp) and not any(isinstance(side, ast.JoinedStr) for side in (node.left, node.right)):
            yield from self.between(node.left, node.right, node.op)
        elif isinstance(node, ast.Compare):
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                yield from self.between(left, right, operator)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from self.between(left, right, node.op)
        elif isinstance(node, ast.UnaryOp):
            yield self.start(node), self.start(node) + (3 if isinstance(node.op, ast.Not) else 1), ""
        elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
            value = node.value
            other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 2.0 * value or 1.0
            yield self.start(node), self.stop(node), repr(other)
        elif isinstance(node, ast.Call):
            yield from self.arguments(node)
        for test in [node.test] if isinstance(node, (ast.If, ast.IfExp, ast.While)) else getattr(node, "ifs", []):
            if isinstance(test, (ast.Name, ast.Call, ast.Attribute, ast.Subscript)):
                yield self.start(test), self.stop(test), f"not {self.source[self.start(test):self.stop(test)].decode()}"

    def walk(self, node: ast.AST) -> Iterator[tuple[int, int, str]]:
        """Yields the changes of a tree but for docstrings, annotations, decorators, imports, `__all__`, error texts, types."""
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)) or isinstance(getattr(node, "value", None), str):
            return
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (
                node.targets[0].id == "__all__" or (isinstance(node.value, ast.Subscript) and node.targets[0].id.istitle())):
            return
        yield from self.of(node)
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns", "decorator_list"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from self.walk(child)


def mutants(module: str) -> Iterator[Mutant]:
    """Yields every mutant of a module; where parentheses stand in the way it may not be Python any more."""
    source = (ROOT / "tinyattn" / module).read_bytes()
    edits, seen = Edits(source), Counter()
    for start, stop, text in edits.walk(edits.tree):
        first, last = source.rfind(b"\n", 0, start) + 1, source.find(b"\n", stop)
        old, new = (" ".join(part.decode().split()) for part in (
            source[first:last], source[first:start] + text.encode() + source[stop:last]))
        seen[old, new] += 1
        again = f"  #{seen[old, new]}" if seen[old, new] > 1 else ""
        yield Mutant(module, source.count(b"\n", 0, start) + 1, start, stop, text, old, new + again)


def broken(mutant: Mutant) -> bytes:
    """Returns the source of the module with the mutant in it."""
    source = (ROOT / "tinyattn" / mutant.module).read_bytes()
    return source[:mutant.start] + mutant.text.encode() + source[mutant.stop:]


def is_python(source: bytes) -> bool:
    """Returns whether a source can be parsed."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def drawn(count: int, seed: int) -> list[Mutant]:
    """Returns the mutants of a seed. Each has a number of its own, so that a change elsewhere in the code draws no other ones."""
    modules = sorted(path.relative_to(ROOT / "tinyattn").as_posix() for area in {part.split("/")[0] for part in AREAS}
                     for path in (ROOT / "tinyattn" / area).rglob("*.py") if path.name != "__init__.py")
    every = [mutant for module in modules for mutant in mutants(module)]
    every.sort(key=lambda mutant: hashlib.sha256(repr((seed, mutant.name)).encode()).digest())
    return list(islice((mutant for mutant in every if is_python(broken(mutant))), count))


def area_of(module: str) -> list[str]:
    return next(folders for part, folders in AREAS.items() if module.startswith(part + "/"))


def stages(module: str) -> list[list[str]]:
    """Returns what pytest is asked, in turn: doctests and the file with most mentions; the area's others; the laws of that module."""
    area = area_of(module)
    text = (ROOT / "tinyattn" / module).read_text()
    defined = [node.name for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    mentions = re.compile(rf"\b({'|'.join([Path(module).stem, *defined])})\b")
    paths = [path for folder in area for path in ([ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("test_*.py")))]
    paths.sort(key=lambda path: -len(set(mentions.findall(path.read_text()))))
    # Tests of laws are many and named after law and mechanism: those that a module has to do with are enough.
    files = {many: [str(path.relative_to(ROOT)) for path in paths if (path.stem in ("test_laws", "test_museum")) == many] for many in (False, True)}
    mechanisms = [re.sub("_(parallel|recurrent|chunked)$", "", name) for name in defined]
    names = re.findall(r'"([a-z]+(?:_[a-z]+)+)", "[A-Z]', text) if module.startswith("laws/") else mechanisms
    only = ["-k", " or ".join(dict.fromkeys(names))] if names and module.startswith(("laws/", "definitions/")) else []
    first, others = files[False][:1], files[False][1:]  # reading all files of an area takes longer than most of its tests
    return [asked for asked in ([f"tinyattn/{module}", *first], others, [*files[True], *only] if files[True] else []) if asked]


def run(copy: Path, asked: list[str]) -> str | None:
    """Returns the first test that fails in a copy of the project, 'no end in time', or None where all pass."""
    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    done = subprocess.run([sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "-p", "no:randomly", *asked], cwd=copy, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=limits,
                          env={**os.environ, "PYTHONPATH": str(copy), "TINYATTN_HYPOTHESIS": "few", "NUMBA_CACHE_DIR": str(copy / "numba")})
    if done.returncode in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        return None
    named = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.M)
    return named[1] if named else "no end in time" if done.returncode < 0 else "the tests cannot be collected"


def table() -> dict[tuple[str, str], tuple[str, str]]:
    """Returns (result, test or reason) of each mutant that the table knows."""
    rows = [line.split("\t") for line in TABLE.read_text().splitlines() if "\t" in line] if TABLE.exists() else []
    return {(place.rpartition(":")[0], change): (result, by) for place, result, change, by in rows}


def write(chosen: list[Mutant], known: dict[tuple[str, str], tuple[str, str]]) -> str:
    """Writes the table of the mutants that were tried; returns its first line."""
    rows = [(mutant, *known[mutant.name]) for mutant in sorted(chosen) if mutant.name in known]
    counts = Counter(result for _, result, _ in rows)
    matter = len(rows) - counts["equivalent"]
    head = (f"{len(rows)} of {len(chosen)} mutants tried: {counts['caught']} caught, {counts['survived']} survived, {counts['equivalent']} change "
            f"nothing; {100 * counts['caught'] / max(matter, 1):.1f} % of those that change anything are caught")
    TABLE.write_text("\n".join([head, *(f"{m.module}:{m.line}\t{result}\t{m.name[1]}\t{by}" for m, result, by in rows), ""]))
    return head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("--count", 300), ("--seed", 0), ("--workers", 2)):
        parser.add_argument(name, type=int, default=number)
    given = parser.parse_args()
    chosen, known, lock = drawn(given.count, given.seed), table(), threading.Lock()
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for n in range(given.workers):
            copies.put(Path(shutil.copytree(ROOT, Path(folder) / str(n), ignore=shutil.ignore_patterns(".*", "build", "__pycache__"))))

        def tried(mutant: Mutant) -> None:
            copy = copies.get()
            (copy / "tinyattn" / mutant.module).write_bytes(broken(mutant))
            by = next(filter(None, (run(copy, asked) for asked in stages(mutant.module))), None)
            shutil.copy(ROOT / "tinyattn" / mutant.module, copy / "tinyattn" / mutant.module)
            shutil.rmtree((copy / "tinyattn" / mutant.module).parent / "__pycache__", ignore_errors=True)  # told by size and second alone
            copies.put(copy)
            with lock:
                known[mutant.name] = ("survived", "") if by is None else ("caught", by)
                print(f"{mutant.module}:{mutant.line}", *known[mutant.name], write(chosen, known), sep="  ", flush=True)

        left = [mutant for mutant in chosen if mutant.name not in known]
        for folders in dict.fromkeys(tuple(area_of(mutant.module)) for mutant in left):
            if failing := run(next(iter(copies.queue)), [*folders]):
                sys.exit(f"{failing} fails without any mutant")
        with ThreadPoolExecutor(given.workers) as pool:
            list(pool.map(tried, left))
    print(write(chosen, known))


if __name__ == "__main__":
    main()
