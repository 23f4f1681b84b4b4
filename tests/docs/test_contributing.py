"""The guide's ten minutes, followed to the letter in a copy of the project."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "contributing.md").read_text().partition("## Add a mechanism in ten minutes")[2].partition("## The documentation")[0]
STEP = re.compile(r"^\*\*(New file )?`([^`\n]+)`(?:, after `([^`\n]+)`)?\*\*\n\n(`{3,})\w+\n(.*?)^\4$", re.S | re.M)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    for name in ("tinyattn", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for new, path, after, _, text in STEP.findall(GUIDE):
        if new:
            assert not (copy / path).exists(), path
            (copy / path).write_text(text)
        else:
            before = (copy / path).read_text()
            assert before.count(f"{after}\n") == 1, f"{path}: {after}"
            (copy / path).write_text(before.replace(f"{after}\n", f"{after}\n{text}"))
    return copy


def test_the_guide_has_a_definition_names_a_map_line_a_row_and_prose():
    assert [path for _, path, *_ in STEP.findall(GUIDE)] == [
        "tinyattn/definitions/softmax/relu.py", "tinyattn/definitions/__init__.py", "tinyattn/definitions/__init__.py",
        "tinyattn/definitions/softmax/__init__.py", "tinyattn/catalog/softmax.py", "tinyattn/catalog/softmax.py", "docs/mechanisms/relu_attention.md"]


COMMANDS = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.S | re.M)[0].splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_succeed(followed, command):
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = subprocess.run([sys.executable, *arguments], cwd=followed, env={**os.environ, "PYTHONPATH": str(followed)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* passed|holds", done.stdout)


def test_its_gradient_is_right(followed):
    code = ("import numpy as np, tinyattn as ta; from tinyattn.engine.check import directional; r = np.random.default_rng(0); "
            "q, k, v = r.standard_normal((3, 2, 4, 3)); "
            "a, b = directional(lambda q: (ta.definitions.relu_attention(q, k, v, causal=True) ** 2).sum(), q, r); "
            "print(abs(a - b) < 1e-6 < abs(a))")
    done = subprocess.run([sys.executable, "-c", code], cwd=followed, env={**os.environ, "PYTHONPATH": str(followed)},
                          capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
