"""tinyattn museum: wrong kernels that the field has shipped, and the laws that catch them."""

from __future__ import annotations

import argparse
import importlib.util


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""


def run(given: argparse.Namespace) -> int:
    """Prints who catches whom."""
    if importlib.util.find_spec("tinyattn.testing.matrix") is None:
        raise ImportError("museum: this installation has no tests in it; pip install 'tinyattn[test]'")
    from tinyattn.testing.matrix import render
    print(render())
    return 0
