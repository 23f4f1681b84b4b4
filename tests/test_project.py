"""What pyproject.toml promises: versions named alike everywhere, and no development tool for those who only use the library."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]


def named(extra: str) -> set[str]:
    """Returns the packages that an extra installs, extras within extras included."""
    names: set[str] = set()
    for requirement in EXTRAS[extra]:
        name, inner = re.match(r"([\w-]+)(?:\[([\w,-]+)\])?", requirement).groups()
        names |= {package for part in inner.split(",") for package in named(part)} if inner else {name}
    return names


def test_all_holds_every_extra_for_users_and_no_development_tool() -> None:
    tools = named("test") | named("docs") | named("browser")
    assert named("all") == named("fast") | named("cli") | named("plot") | named("data") | named("hub")
    assert not named("all") & (tools - {"numba", "rich", "matplotlib", "scikit-learn", "threadpoolctl", "tokenizers", "jinja2"})
    assert {"pytest", "ruff", "mypy", "hypothesis", "sphinx"} <= tools


def test_classifiers_readme_and_requires_python_name_the_same_versions() -> None:
    prefix = "Programming Language :: Python :: 3."
    assert [name.removeprefix(prefix) for name in PROJECT["classifiers"] if name.startswith(prefix)] == [v[2:] for v in VERSIONS]
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"
    assert PROJECT["dependencies"] == ["numpy>=2.0"]
    assert f"Python {VERSIONS[0]} to {VERSIONS[-1]} and NumPy 2.0 or newer; older versions are not supported" in (ROOT / "README.md").read_text()

