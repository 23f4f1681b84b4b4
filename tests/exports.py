"""Writes what the package exports anew, from the definitions' files: `python tests/exports.py`.

A definition, a function that `@shapes` declares, is exported under its name by `tinyattn.definitions` and by `tinyattn`
itself, there in its fastest form; its kernel has the same name in `tinyattn.kernels`. Four texts say so, and type checkers and
editors read them without running anything: the imports and `__all__` of `tinyattn/definitions/__init__.py` and
`tinyattn/kernels/__init__.py`, the table of names in `tinyattn/__init__.py`, and the stub `tinyattn/__init__.pyi`. Nothing is
imported here, so that a name which is gone can be taken out of them.
"""

import ast
import textwrap
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "tinyattn"
WIDTH = 125
OPS = ["Bias", "Pattern", "ScoreRule", "alibi", "merge", "relative", "rotary"]
# The folders of kernels that are named like those of definitions: they hold mechanisms.
MIRRORED = {"softmax", "sparse", "linear", "lowrank", "spatial"}
PARTS = ["caches", "catalog", "definitions", "engine", "fastest", "kernels", "laws", "layers", "models", "ops", "parallel", "plot",
         "testing"]


def declared(tree: ast.Module) -> set[str]:
    """Returns the functions of a file that are definitions: `@shapes` decorates them, or they are given a signature by hand."""
    by_decorator = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)
                    and any(ast.unparse(decorator).startswith(("shapes(", "factored(")) for decorator in node.decorator_list)}
    by_hand = {ast.unparse(target.value) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
               if isinstance(target, ast.Attribute) and target.attr == "signature"}
    return by_decorator | by_hand


def assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """Returns what a file assigns to each of its names."""
    return {target.id: node.value for node in tree.body if isinstance(node, ast.Assign)
            for target in node.targets if isinstance(target, ast.Name)}


def definitions(package: str = "definitions") -> dict[str, list[str]]:
    """Returns the names of the definitions in each file that has any, other names of the same functions included.

    Those of `kernels` are found in the same way.
    """
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.glob(f"{package}/*/*.py"))}
    functions = set().union(*map(declared, trees.values()))
    found = {}
    for path, tree in trees.items():
        names = declared(tree) | {name for name, value in assigned(tree).items() if ast.unparse(value) in functions}
        if names:
            found[".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)] = sorted(names)
    return found


def homes() -> dict[str, list[str]]:
    """Returns the names that `tinyattn` exports, by the module that each comes from."""
    best = [name for name, value in assigned(ast.parse((PACKAGE / "fastest.py").read_text())).items()
            if ast.unparse(value).startswith("fastest(")]
    rest = sorted(name for names in definitions().values() for name in names if name not in best)
    engine = ast.literal_eval(assigned(ast.parse((PACKAGE / "engine" / "__init__.py").read_text()))["__all__"])
    return {"tinyattn.definitions": rest, "tinyattn.engine": engine, "tinyattn.fastest": sorted(best), "tinyattn.ops": OPS}


def imported(module: str, names: list[str]) -> str:
    """Returns the statement that imports names of a module, one per line where one line is too short for all."""
    line = f"from {module} import {', '.join(names)}"
    return line if len(line) <= 135 else f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def listed(names: list[str]) -> str:
    """Returns `__all__` with one name per line, classes first, as Ruff wants it."""
    order = sorted(names, key=lambda name: (not name[0].isupper(), name))
    return "__all__ = [\n" + "".join(f'    "{name}",\n' for name in order) + "]\n"


def folder_init(text: str, package: str) -> str:
    """Returns the text of an `__init__.py` of definitions or kernels with its imports and `__all__` written anew.

    Imports of what is no mechanism stay, and are in `__all__` unless they are written `as`.
    """
    tree = ast.parse(text)
    docstring = text.splitlines()[: tree.body[0].end_lineno]
    found = definitions(package)
    others = [node for node in tree.body if isinstance(node, ast.ImportFrom)
              and (node.names[0].asname or str(node.module).split(".")[2] not in MIRRORED)]
    statements = [(module, names[0], imported(module, names)) for module, names in found.items()]
    kept = [(node.module, node.names[0].name, ast.unparse(node)) for node in others]
    public = [alias.name for node in others for alias in node.names if not alias.asname]
    return "\n".join([*docstring, "", *(line for *_, line in sorted(kept + statements)), "", listed([*chain(*found.values(), public)])])


def package_init(text: str) -> str:
    """Returns the text of tinyattn/__init__.py with its table of names written anew."""
    before, start, rest = text.partition("_NAMES = {\n")
    _, end, after = rest.partition("}\n")
    rows = [f'    "{module}": """\n{textwrap.indent(textwrap.fill(" ".join(names), WIDTH), " " * 8)}\n    """,\n'
            for module, names in homes().items()]
    return "".join([before, start, *rows, end, after])


def stub() -> str:
    """Returns the text of tinyattn/__init__.pyi: every export as a plain import `as` its own name, which makes it public in a stub."""
    found = homes()
    return "\n".join(["# What type checkers and editors see of `import tinyattn`; written by tests/exports.py.", "",
                      *(f"from {module} import {name} as {name}" for module, names in {"tinyattn": PARTS, **found}.items() for name in names),
                      "", "__version__: str", ""])


def texts() -> dict[Path, str]:
    """Returns what each of the four files should hold."""
    package, folders = PACKAGE / "__init__.py", {name: PACKAGE / name / "__init__.py" for name in ("definitions", "kernels")}
    return {**{path: folder_init(path.read_text(), name) for name, path in folders.items()},
            package: package_init(package.read_text()), PACKAGE / "__init__.pyi": stub()}


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text)
