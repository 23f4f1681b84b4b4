"""The house: the map is true, imports point upwards, files are small, fences hold."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

import tinyattn

PACKAGE = Path(tinyattn.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
KNOWN = frozenset(FILES)
MODULES = [name for name in FILES if not name.endswith("__init__.py")]
LAYERS = ["engine", "ops", "definitions", "kernels", "in_numpy", "fastest", "parallel", "caches", "layers", "models", "laws",
          "catalog", "testing", "plot", "cli"]
NEVER = {
    "engine": {"ops", "definitions", "kernels", "fastest", "caches", "layers", "models", "laws", "catalog", "testing",
               "cli"},
    "ops": {"engine"}, "definitions": {"engine"}, "kernels": {"definitions", "engine.tensor", "engine.grad"},
    "in_numpy": {"engine", "kernels"}, "fastest": {"engine.tensor", "engine.grad", "layers"}, "caches": {"engine", "layers"},
    "parallel": {"engine.tensor", "engine.grad", "kernels", "definitions", "layers"},
    "layers": {"laws", "testing", "cli"}, "models": {"laws", "testing", "cli"}, "laws": {"testing", "cli"},
    "catalog": {"testing", "cli"}, "testing": {"cli"},
}
HOMES = {"numba": ("kernels/",), "hypothesis": ("testing/",), "matplotlib": ("plot.py",), "rich": ("cli/",),
         "torch": ("cli/",), "mpi4py": ("cli/",), "llvmlite": ("kernels/",)}


@cache
def tree_of(name: str) -> ast.Module:
    """Returns the syntax tree of a file, parsed once for all tests."""
    return ast.parse((PACKAGE / name).read_text())


@cache
def map_entries(folder: str = "") -> list[str]:
    """Returns the files in the order of the maps: each folder's docstring lists its own, and its subfolders in their place."""
    doc = ast.get_docstring(tree_of(f"{folder}__init__.py"))
    entries: list[str] = []
    for name in re.findall(r"^    ([a-z0-9_]+(?:\.py|/))  +\S", doc, re.M):
        entries += map_entries(folder + name) if name.endswith("/") else [folder + name]
    return entries


def test_every_file_stands_on_the_map_once() -> None:
    entries = map_entries()
    assert sorted(entries) == MODULES
    assert len(set(entries)) == len(entries)


@cache
def imports(name: str) -> set[str]:
    """Returns the dotted names that a file imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            submodules = [f"{node.module}.{alias.name}".replace(".", "/").removeprefix("tinyattn/") for alias in node.names]
            if not all(f"{path}.py" in KNOWN or f"{path}/__init__.py" in KNOWN for path in submodules):
                found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@cache
def ours(name: str) -> set[str]:
    """Returns the files of the package that a file imports."""
    found = set()
    for dotted in imports(name):
        path = dotted.replace(".", "/").removeprefix("tinyattn/")
        for candidate in (f"{path}.py", f"{path}/__init__.py"):
            if dotted.startswith("tinyattn.") and candidate in KNOWN:
                found.add(candidate)
    return found


@cache
def place(name: str) -> int:
    """Returns where a file stands in reading order; a package stands where its last file does."""
    order = map_entries()
    if not name.endswith("__init__.py"):
        return order.index(name)
    folder = name.removesuffix("__init__.py")
    return max((i for i, entry in enumerate(order) if entry.startswith(folder)), default=-1)


@pytest.mark.parametrize("name", MODULES)
def test_a_file_imports_only_what_stands_above_it(name: str) -> None:
    later = {other for other in ours(name) if place(other) >= place(name)}
    assert not later, f"{name} imports what stands below it on the map"


@pytest.mark.parametrize("name", FILES)
def test_layers_keep_their_fences(name: str) -> None:
    layer = name.split("/")[0].removesuffix(".py")
    for other in ours(name):
        dotted = other.removesuffix(".py").replace("/", ".")
        for banned in NEVER.get(layer, ()):
            assert not (dotted + ".").startswith(banned + "."), f"{name} imports {other}"


@pytest.mark.parametrize("name", FILES)
def test_heavy_packages_stay_at_home(name: str) -> None:
    for dotted in imports(name):
        root = dotted.split(".")[0]
        if root in HOMES:
            assert name.startswith(HOMES[root]), f"{name} imports {root}"


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_one_idea_and_at_most_250_lines(name: str) -> None:
    lines = (PACKAGE / name).read_text().count("\n")
    assert lines <= 250, f"{name}: {lines} lines"
    doc = ast.get_docstring(tree_of(name))
    assert doc, f"{name}: no first line that says what it is"


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_a_file_of_tests_has_at_most_250_lines_too(path: Path) -> None:
    assert path.read_text().count("\n") <= 250


def test_layers_stand_in_order() -> None:
    seen = list(dict.fromkeys(entry.split("/")[0].removesuffix(".py") for entry in map_entries()))
    named = [layer for layer in seen if layer in LAYERS]
    assert named == [layer for layer in LAYERS if layer in named]


def definitions() -> list[tuple[str, object]]:
    """Returns every public definition by name."""
    return [(name, getattr(tinyattn.definitions, name)) for name in tinyattn.definitions.__all__]


@pytest.mark.parametrize(("name", "definition"), definitions())
def test_a_definition_says_its_sentence_formula_shapes_and_paper(name: str, definition: object) -> None:
    doc = inspect.getdoc(definition)
    assert re.match(r"^Returns [^\n]+(\n[^\n]+)?\.\n\n", doc + "\n\n"), f"{name}: one sentence first"
    for part in ("Formula", "Shapes", "Raises:", "Paper:", "arXiv:", ">>> "):
        assert part in doc, f"{name}: no {part}"
    assert "->" in definition.signature


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("definitions/")])
def test_definitions_neither_mutate_nor_convert(name: str) -> None:
    for node in ast.walk(tree_of(name)):
        assert not isinstance(node, ast.Assert), f"{name}: assert validates nothing under -O"
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assert not any(isinstance(target, ast.Subscript) for target in targets), f"{name}: writes into an array"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("np.asarray", "np.array", "np.copyto"), f"{name}: {called} cuts a graph"
            assert not any(keyword.arg == "out" for keyword in node.keywords), f"{name}: out= writes into an array"


@pytest.mark.parametrize("name", FILES)
def test_no_smell_that_a_search_can_find(name: str) -> None:
    for node in ast.walk(tree_of(name)):
        assert not isinstance(node, ast.Assert), f"{name}:{node.lineno}: assert"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name}:{node.lineno}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{name}:{node.lineno}: {node.func.id}"
    assert not {"pickle", "marshal", "shelve"} & {dotted.split(".")[0] for dotted in imports(name)}
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", (PACKAGE / name).read_text())
