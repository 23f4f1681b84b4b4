"""The README says what is so: its Python runs and prints what it shows, its shell blocks are the three commands, its picture is its table."""

import importlib.util
import re
from pathlib import Path

import pytest

from tinyattn.catalog import ROWS
from tinyattn.cli import COMMANDS
from tinyattn.testing import MUSEUM

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.S | re.M)
SPEED = [[cell.strip() for cell in line.strip("|").split("|")]
         for line in re.search(r"^\| case \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.M)[1].splitlines()]


@pytest.mark.parametrize("block", PYTHON, ids=[block.strip().splitlines()[0][:40] for block in PYTHON])
def test_a_python_block_runs_and_prints_what_it_says(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "readme"}
    for earlier in PYTHON[: PYTHON.index(block)]:
        exec(earlier, names)
    capsys.readouterr()
    exec(block, names)
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\) +# (.+)$", block, re.M)


def test_every_block_is_one_that_runs() -> None:
    assert README.count("```") == 2 * (len(PYTHON) + len(SHELL))


def test_the_first_block_shows_its_output() -> None:
    assert len(re.findall(r"^print\(.*\) +# .+$", PYTHON[0], re.M)) == 3
    assert len([line for line in PYTHON[0].splitlines() if line]) <= 12


def test_its_numbers_are_true() -> None:
    (mechanisms,) = re.findall(r"over (\d+) attention mechanisms", README)
    (wrong,) = re.findall(r"over (\d+) wrong attentions", README)
    assert len(ROWS) > int(mechanisms)
    assert len(MUSEUM) > int(wrong)


def test_commands_that_it_names_are_there() -> None:
    named = set(re.findall(r"`tinyattn (\w+)", README))
    assert named >= {"list", "show", "check", "museum", "compare", "time"}
    assert named <= set(COMMANDS)


def test_there_are_three_commands_of_one_line() -> None:
    assert len(SHELL) == 3
    assert all(block.count("\n") == 1 for block in SHELL)
    assert "tinyattn compare" in SHELL[0]
    assert "pytest" in SHELL[1]
    assert "docs/build.py" in SHELL[2]


def test_files_that_it_names_are_there() -> None:
    named = re.findall(r"`((?:tinyattn|tests|docs)/[\w/.]+)`", README) + re.findall(r'(?:\]\(|src(?:set)?=")([^)"]+)', README)
    assert "docs/_static/poster-dark.svg" in named
    for name in named:
        assert (ROOT / name).exists(), name


def test_it_does_not_say_that_the_package_is_on_pypi() -> None:
    assert "not on PyPI yet" in README
    texts = [README, *(path.read_text() for folder, kind in (("docs", "*.md"), ("tinyattn", "*.py")) for path in (ROOT / folder).rglob(kind))]
    assert not [found for text in texts for found in re.findall(r"pip install (?:--\S+ )*'?tinyattn.*", text)]


def test_a_ratio_of_speed_is_that_of_the_times_beside_it() -> None:
    measured = [(float(ours.removesuffix(" ms")), float(re.search(r"([\d.]+) ms", theirs)[1]), float(times))
                for _, ours, theirs, times in SPEED if ours.endswith(" ms")]
    assert len(measured) >= 4
    for ours, theirs, times in measured:
        assert theirs / ours == pytest.approx(times, rel=0.08)  # a median of ratios is not the ratio of medians


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_picture_shows_the_times_of_the_table(mode: str) -> None:
    spec = importlib.util.spec_from_file_location("poster", ROOT / "docs" / "making" / "poster.py")
    poster = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(poster)
    drawn, kept = poster.svg(mode, poster.measured(README)), (ROOT / "docs" / "_static" / f"poster-{mode}.svg").read_text()
    words = [re.findall(r"<text[^>]*>([^<]*)", svg) for svg in (drawn, kept)]
    about = [[word for word in said if "differ" not in word and "budget" not in word] for said in words]  # last digits are the machine's
    assert about[0] == about[1], "run python docs/making/poster.py"
