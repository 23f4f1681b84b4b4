"""What is exported follows from the definitions' files, and the three doors are the same names for every reader."""

import ast
import importlib.util
import sys
from pathlib import Path

import tinyattn
from tinyattn import definitions, engine, fastest, ops

spec = importlib.util.spec_from_file_location("exports", Path(__file__).parent / "exports.py")
exports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exports)


def test_exports_are_written():
    for path, text in exports.texts().items():
        assert path.read_text() == text, f"{path}: python tests/exports.py writes it anew"


def test_the_stub_has_the_names_that_the_package_has():
    tree = ast.parse((exports.PACKAGE / "__init__.pyi").read_text())
    names = {alias.asname: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted({*names, "__version__"}) == sorted({*tinyattn.__all__, "kernels"})
    assert all(alias.asname == alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names)
    for name, module in names.items():
        assert getattr(tinyattn, name) is getattr(sys.modules[module], name), name


def test_every_definition_is_a_name_of_the_package_in_its_fastest_form():
    fast = exports.homes()["tinyattn.fastest"]
    for name in definitions.__all__:
        want = getattr(fastest, name) if name in fast else getattr(definitions, name)
        assert getattr(tinyattn, name) is want, name
    assert {*definitions.__all__, *engine.__all__} < set(tinyattn.__all__)
    assert set(exports.OPS) == {name for name in tinyattn.__all__ if name in ops.__all__ and name not in definitions.__all__}


def test_a_definition_is_found_by_its_decorator_its_signature_or_another_name_of_it(tmp_path, monkeypatch):
    folder = tmp_path / "tinyattn" / "definitions" / "softmax"
    folder.mkdir(parents=True)
    (folder / "one.py").write_text("@shapes('(i,d)->(i,d)')\ndef b(x): ...\ndef a(x): ...\na.signature = ''\ndef helper(x): ...\nLIMIT = 3\n")
    (folder / "two.py").write_text("from tinyattn.definitions.softmax.one import a\nz = a\n")
    (folder / "none.py").write_text("def helper(x): ...\n")
    monkeypatch.setattr(exports, "PACKAGE", tmp_path / "tinyattn")
    assert exports.definitions() == {"tinyattn.definitions.softmax.one": ["a", "b"], "tinyattn.definitions.softmax.two": ["z"]}
    before = '"""A map."""\n\nfrom tinyattn.definitions.softmax.gone import gone\nfrom tinyattn.ops.draws import draws as draws\n\n__all__ = ["gone"]\n'
    assert exports.folder_init(before, "definitions") == (
        '"""A map."""\n\nfrom tinyattn.definitions.softmax.one import a, b\nfrom tinyattn.definitions.softmax.two import z\n'
        'from tinyattn.ops.draws import draws as draws\n\n__all__ = [\n    "a",\n    "b",\n    "z",\n]\n')
