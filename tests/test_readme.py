"""The README's Python runs, and its shell blocks are the three commands."""

import re
from pathlib import Path

import pytest

from tinyattn.catalog import ROWS
from tinyattn.testing import MUSEUM

README = (Path(__file__).parent.parent / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.S | re.M)


@pytest.mark.parametrize("block", PYTHON, ids=[block.strip().splitlines()[0][:40] for block in PYTHON])
def test_a_python_block_runs_and_prints_what_it_says(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "readme"}
    for earlier in PYTHON[: PYTHON.index(block)]:
        exec(earlier, names)
    capsys.readouterr()
    exec(block, names)
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\) +# (.+)$", block, re.M)


def test_the_first_block_shows_its_output() -> None:
    assert len(re.findall(r"^print\(.*\) +# .+$", PYTHON[0], re.M)) == 3


def test_its_numbers_are_true() -> None:
    assert f"for {len(ROWS)} mechanisms" in README
    (wrong,) = re.findall(r"over (\d+) wrong attentions", README)
    assert len(MUSEUM) > int(wrong)


def test_there_are_three_commands_of_one_line() -> None:
    assert len(SHELL) == 3
    assert all(block.count("\n") == 1 for block in SHELL)
    assert "tinyattn compare" in SHELL[0]
    assert "pytest" in SHELL[1]
    assert "docs/build.py" in SHELL[2]


def test_files_that_it_names_are_there() -> None:
    root = Path(__file__).parent.parent
    for name in re.findall(r"`((?:tinyattn|tests|docs)/[\w/.]+)`", README):
        assert (root / name).exists(), name
