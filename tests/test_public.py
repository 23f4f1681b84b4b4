"""What is public changes knowingly: `tests/public.txt` lists every public name with its signature."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("public_names", HERE / "public.py")
public_names = importlib.util.module_from_spec(spec)
spec.loader.exec_module(public_names)


def test_public_names_and_signatures_are_those_of_the_list() -> None:
    listed, modules = (HERE / "public.txt").read_text().splitlines(), public_names.MODULES
    if importlib.util.find_spec("numba") is None:
        # Kernels cannot be imported here; their lines are held wherever Numba is installed.
        listed = [line for line in listed if not line.startswith(public_names.KERNELS)]
        modules = [name for name in modules if name != public_names.KERNELS]
    found = list(public_names.lines(modules))
    changed = [f"- {line}" for line in listed if line not in found] + [f"+ {line}" for line in found if line not in listed]
    assert found == listed, "\n".join([
        "Public names have changed:", *changed, "If that is meant, run `python tests/public.py > tests/public.txt` "
        "and write a line into docs/changelog.md."])


def kinds(a, /, b, *rest, c=1.0, d=len, e=object(), **options) -> None: ...
def bare(a, *, b=None, c=(1, 2), d=dict) -> None: ...
def positional(a, b=2, /) -> None: ...


@pytest.mark.parametrize(("function", "expected"), [
    (kinds, "(a, /, b, *rest, c=1.0, d=len, e=..., **options)"), (bare, "(a, *, b=None, c=(1, 2), d=dict)"),
    (positional, "(a, b=2, /)")])
def test_a_signature_shows_kinds_order_and_defaults(function: object, expected: str) -> None:
    assert public_names.signature(function) == expected


def test_a_class_shows_what_it_inherits_from_the_package() -> None:
    class Base:
        def given(self, x: int = 1) -> None: ...
        def _private(self) -> None: ...

    class Child(Base, list):
        @property
        def size(self) -> int: ...
        @classmethod
        def made(cls, y: int) -> "Child": ...
        @staticmethod
        def fixed() -> None: ...

    Base.__module__ = Child.__module__ = "tinyattn.somewhere"
    assert list(public_names.methods(Child)) == [".fixed()", ".given(x=1)", ".made(y)", ".size"]
