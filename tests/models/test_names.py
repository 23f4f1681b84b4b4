"""What `tinyattn.models` offers: functions and classes, whichever way their files have been imported before."""

import inspect
import subprocess
import sys

import pytest

import tinyattn.models as models

SHARED_WITH_A_FILE = ("generate", "train", "speculate")


def test_every_public_name_is_a_function_or_a_class():
    assert models.__all__ == sorted(set(models.__all__))
    for name in models.__all__:
        thing = getattr(models, name)
        assert inspect.isfunction(thing) or inspect.isclass(thing), name
        assert thing.__module__.startswith("tinyattn.models."), name
        assert inspect.getdoc(thing), name


@pytest.mark.parametrize("first", ["package", "files"])
def test_a_name_is_the_function_before_and_after_its_file_is_imported(first):
    files = f"import importlib\nfor name in {SHARED_WITH_A_FILE}: importlib.import_module('tinyattn.models.' + name)\n"
    asked = f"import tinyattn.models as m\nfor name in {SHARED_WITH_A_FILE}: assert callable(getattr(m, name)), name\n"
    code = asked + files + asked if first == "package" else files + asked
    subprocess.run([sys.executable, "-c", code], check=True)
