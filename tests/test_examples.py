"""Every public function and class shows an example, which runs as a doctest with the suite."""

import importlib.util
import inspect
from importlib import import_module
from pathlib import Path

spec = importlib.util.spec_from_file_location("public_names", Path(__file__).parent / "public.py")
public_names = importlib.util.module_from_spec(spec)
spec.loader.exec_module(public_names)


def without_example(modules: list[str]) -> list[str]:
    """Returns the public functions and classes of this package, in these modules, that have no example."""
    owned = [(f"{name}.{member}", getattr(import_module(name), member))
             for name in modules for member in public_names.public(import_module(name))]
    return [name for name, thing in owned if (inspect.isfunction(thing) or inspect.isclass(thing))
            and thing.__module__.startswith("tinyattn") and ">>>" not in (thing.__doc__ or "")]


def test_every_public_function_and_class_shows_an_example() -> None:
    modules = list(public_names.MODULES)
    if importlib.util.find_spec("numba") is None:
        modules.remove(public_names.KERNELS)  # cannot be imported here; held wherever Numba is installed
    assert without_example(modules) == []


def test_a_name_without_an_example_is_found() -> None:
    from tinyattn.ops import softmax

    shown, softmax.__doc__ = softmax.__doc__, "Returns weights."
    try:
        assert without_example(["tinyattn.ops"]) == ["tinyattn.ops.softmax"]
    finally:
        softmax.__doc__ = shown
