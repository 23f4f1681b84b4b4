"""The guide's ten minutes, followed to the letter in a copy of the project; `python test_contributing.py FOLDER` makes that copy."""

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

WRITING, COMMANDS = (block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.S | re.M))


def follow(copy):
    """Copies the project into an existing folder and does there what the guide says."""
    for name in ("tinyattn", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name)  # with what is compiled of them, which is valid as the times of files are kept
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    for new, path, after, _, text in STEP.findall(GUIDE):
        if new:
            assert not (copy / path).exists(), path
            (copy / path).write_text(text)
        else:
            before = (copy / path).read_text()
            assert before.count(f"{after}\n") == 1, f"{path}: {after}"
            (copy / path).write_text(before.replace(f"{after}\n", f"{after}\n{text}"))
    for command in WRITING:
        command, _, target = command.partition(" > ")
        written = run(command, copy)
        assert written.returncode == 0, written.stderr
        if target:
            (copy / target).write_text(written.stdout)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    follow(copy)
    return copy


def run(command, folder):
    program, *arguments = shlex.split(command)
    assert program == "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env={**environment, "PYTHONPATH": str(folder)},
                          capture_output=True, text=True)


def test_the_guide_has_a_definition_a_map_line_a_row_and_prose():
    assert [path for _, path, *_ in STEP.findall(GUIDE)] == [
        "tinyattn/definitions/linear/running_mean.py", "tinyattn/definitions/linear/__init__.py", "tinyattn/catalog/linear.py",
        "docs/mechanisms/running_mean_attention.md"]


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_succeed(followed, command):
    done = run(command, followed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* passed|holds", done.stdout)


def test_its_gradient_is_right(followed):
    code = ("import numpy as np, tinyattn as ta; from tinyattn.engine.check import directional; r = np.random.default_rng(0); "
            "q, k, v = r.standard_normal((3, 2, 4, 3)); d = -np.ones((2, 4)); "
            "a, b = directional(lambda d: (ta.running_mean_attention(q, k, v, log_decay=d) ** 2).sum(), d, r); "
            "print(abs(a - b) < 1e-6 < abs(a))")
    done = subprocess.run([sys.executable, "-c", code], cwd=followed, env={**os.environ, "PYTHONPATH": str(followed)},
                          capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


if __name__ == "__main__":  # for .ci/run, which then runs more of the suite on the result
    follow(Path(sys.argv[1]).resolve())
