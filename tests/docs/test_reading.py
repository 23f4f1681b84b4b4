"""The reading path: what the chapters run runs, and each exercise fails as it begins and holds with its answer."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import tinyattn as ta

CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "docs" / "reading").glob("[1-9]*.md"), key=lambda path: int(path.stem.split("_")[0]))


def blocks(text: str, language: str) -> list[str]:
    """Returns the code of a language on a page, without its options."""
    return [re.sub(r"^(?::.*\n)+\n?", "", block) for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)]


def exercises() -> list[tuple[str, dict[str, str], str]]:
    """Returns chapter and title of each exercise, its three blocks by name, and what the chapter ran before."""
    found = []
    for path in CHAPTERS:
        for part in re.split(r"^### ", path.read_text(), flags=re.M)[1:]:
            named = {block.splitlines()[0].removeprefix("# "): block for block in blocks(part, "python")}
            found.append((f"{path.stem}: {part.splitlines()[0]}", named, path.read_text()))
    return found


@pytest.fixture(autouse=True)
def no_windows(monkeypatch):
    """The folder of the chapters is where their code runs when the site is built; no window opens."""
    monkeypatch.chdir(CHAPTERS[0].parent)
    matplotlib.use("agg")
    yield
    import matplotlib.pyplot as plt
    plt.close("all")


def names(text: str) -> dict[str, object]:
    """Returns what a chapter has imported by its end."""
    known: dict[str, object] = {"np": np, "ta": ta}
    imports = [line for block in blocks(text, r"\{code-cell\} ipython3") for line in block.splitlines()
               if re.match(r"(import|from) ", line)]
    exec("\n".join(imports), known)
    return known


def test_every_chapter_is_on_the_path_and_has_three_exercises() -> None:
    listed = re.search(r"^```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)^```", (CHAPTERS[0].parent / "index.md").read_text(), re.S | re.M)
    assert listed[1].split() == [path.stem for path in CHAPTERS]
    for path in CHAPTERS:
        assert path.read_text().count("\n### Exercise ") == 3, path.name
        assert "{literalinclude} /../tinyattn/" in path.read_text(), f"{path.name}: shows no code of the package"


def test_files_that_the_reading_path_names_are_there() -> None:
    folder = CHAPTERS[0].parent
    for path in (folder / "index.md", *CHAPTERS):
        for name in re.findall(r"`((?:tinyattn|tests|docs)/[\w/.]+)`", path.read_text()):
            assert (folder.parents[1] / name).exists(), f"{path.name}: {name}"
    assert "`tinyattn/engine/graph.py`" in (folder / "index.md").read_text()


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_the_cells_of_a_chapter_run_and_show_the_pictures_that_they_draw(path) -> None:
    import matplotlib.pyplot as plt
    known: dict[str, object] = {}
    for cell in blocks(path.read_text(), r"\{code-cell\} ipython3"):
        exec("\n".join(line for line in cell.splitlines() if not line.startswith("%") and "page.mplstyle" not in line), known)
        shown = [bool(plt.figure(number).axes) for number in plt.get_fignums()]  # what the notebook shows below the cell
        assert shown == [True] * bool(re.search(r"\bplot\.\w+\(|plt\.(?:subplots|gcf)\(", cell)), cell
        plt.close("all")


@pytest.mark.parametrize(("title", "parts", "text"), exercises(), ids=[title for title, *_ in exercises()])
def test_an_exercise_fails_as_it_begins_and_holds_with_its_answer(title, parts, text) -> None:
    assert list(parts) == ["start", "check", "answer"]
    known = names(text)
    exec(parts["answer"], known)
    exec(parts["check"], known)
    known = names(text)
    exec(parts["start"], known)
    with pytest.raises((AssertionError, ArithmeticError)):
        exec(parts["check"], known)
