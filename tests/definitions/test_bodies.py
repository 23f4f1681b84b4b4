"""A definition shows its formula: a public body computes, or calls another public definition that it is a case of."""

import ast
import inspect
import textwrap
from pathlib import Path

import pytest

from tinyattn import definitions

FOLDER = Path(definitions.__file__).parent
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py") if path.name != "__init__.py")


def statements(function):
    """Returns the statements of a function's body, its docstring aside."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    body = tree.body[0].body
    return body[1:] if ast.get_docstring(tree.body[0]) else body


def delegates(function):
    """Returns the name that a body calls and does nothing else, or None."""
    body = statements(function)
    if len(body) == 1 and isinstance(body[0], ast.Return) and isinstance(body[0].value, ast.Call):
        return ast.unparse(body[0].value.func)
    return None


@pytest.mark.parametrize("name", definitions.__all__)
def test_no_public_body_is_one_call_of_a_private_helper(name):
    called = delegates(getattr(definitions, name))
    assert called is None or called in definitions.__all__


@pytest.mark.parametrize("name", [name for name in definitions.__all__ if delegates(getattr(definitions, name))])
def test_the_docstring_of_a_reduction_says_of_what_it_is_a_case(name):
    function = getattr(definitions, name)
    assert f"`{delegates(function)}`" in inspect.getdoc(function)


@pytest.mark.parametrize("name", FILES)
def test_definitions_are_at_most_90_lines(name):
    assert len((FOLDER / name).read_text().splitlines()) <= 90


def one_call(q):
    """Its formula is elsewhere."""
    return delegates(q)


def test_a_body_that_is_one_call_is_found():
    assert delegates(one_call) == "delegates"
