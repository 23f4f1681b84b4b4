"""What an import brings: little, in little time, and the same names in any order."""

import json
import subprocess
import sys

import pytest

HEAVY = ("numba", "hypothesis", "matplotlib", "rich", "torch", "pytest", "tinyattn.engine.tensor", "tinyattn.definitions")
FUNCTIONS = [("tinyattn.engine", "grad", "tinyattn.engine.grad"), ("tinyattn.engine", "primitive", "tinyattn.engine.primitive"),
             ("tinyattn.ops", "merge", "tinyattn.ops.merge"), ("tinyattn.ops", "softmax", "tinyattn.ops.softmax"),
             ("tinyattn.ops", "rotary", "tinyattn.ops.positions.rotary"), ("tinyattn", "attention", "tinyattn.fastest"),
             ("tinyattn.ops.positions", "rotary", "tinyattn.ops.positions.rotary"), ("tinyattn", "grad", "tinyattn.engine.grad")]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_loads_nothing_heavy() -> None:
    loaded = json.loads(run("import json, sys, tinyattn; print(json.dumps(list(sys.modules)))"))
    assert not set(HEAVY) & set(loaded)


def test_attention_itself_loads_no_extra() -> None:
    loaded = json.loads(run("import json, sys, numpy as np, tinyattn as ta; x = np.ones((2, 3, 4)); ta.attention(x, x, x); "
                            "ta.grad(lambda q: ta.attention(q, x, x).sum())(x); print(json.dumps(list(sys.modules)))"))
    assert not {"hypothesis", "matplotlib", "rich", "torch", "pytest"} & set(loaded)


def test_importing_changes_no_global_state() -> None:
    assert run("import threading, numpy as np; a = np.geterr(), str(np.random.get_state()), threading.active_count(); "
               "import tinyattn, tinyattn.laws, tinyattn.models.train; "
               "print(a == (np.geterr(), str(np.random.get_state()), threading.active_count()))") == "True\n"


@pytest.mark.parametrize(("package", "name", "module"), FUNCTIONS)
@pytest.mark.parametrize("first", ["function", "module"])
def test_a_name_is_the_function_before_and_after_its_file_is_imported(package: str, name: str, module: str, first: str) -> None:
    asked = f"import importlib; p = importlib.import_module({package!r}); assert callable(p.{name}), p.{name}; "
    filed = f"import importlib; importlib.import_module({module!r}); "
    run(asked + filed + asked if first == "function" else filed + asked)


def test_every_public_name_is_there() -> None:
    run("import tinyattn as t; [getattr(t, n) for n in t.__all__]; [getattr(t.definitions, n) for n in t.definitions.__all__]; "
        "[getattr(t.ops, n) for n in t.ops.__all__]; assert set(t.__all__) <= set(dir(t))")


def test_an_unknown_name_is_an_attribute_error() -> None:
    import tinyattn
    with pytest.raises(AttributeError, match="no attribute 'atention'"):
        tinyattn.atention  # noqa: B018


def test_it_works_under_python_o() -> None:
    code = ("import numpy as np, tinyattn as ta\ntry:\n    ta.attention(np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 3)))\n"
            "except ValueError as e:\n    print('refused')")
    done = subprocess.run([sys.executable, "-O", "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
