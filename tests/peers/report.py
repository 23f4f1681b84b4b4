"""Writes the field report: python -m tests.peers.report docs/field.md [NAME ...] judges what is installed."""

import argparse
import datetime
import importlib.metadata
import platform
import warnings
from pathlib import Path

from tests.peers.kernels import PEERS
from tinyattn.testing import conform


def section(name, make, arrays, preset, packages, seconds):
    """Returns what the kit says about one kernel, as a section of the page."""
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = conform(make(), arrays=arrays, dialect=preset, seconds=seconds)
    declared = f"declared: the preset `{preset}`" if preset else "declared: nothing"
    return f"## {name}\n\n{versions}; {declared}.\n\n```text\n{report}\n```\n"


def main():
    """Judges each library that is installed, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("names", nargs="*", help="words in the names of what is judged (default: everything)")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    parts = [f"# Field report\n\nWhat the conformance kit says about attention functions of other libraries, run on "
             f"{datetime.date.today()} with Python {platform.python_version()}, on CPU. `python -m tests.peers.report docs/field.md` "
             f"writes this page; the adapters, at most ten lines each, are in `tests/peers/kernels.py`. Dimensions of error are "
             f"budgets: at most 1 is right.\n"]
    for name, make, arrays, preset, packages in PEERS:
        if given.names and not any(word in name for word in given.names):
            continue
        try:
            parts.append(section(name, make, arrays, preset, packages, given.seconds))
        except ImportError as error:
            parts.append(f"## {name}\n\nNot run: {error}.\n")
        given.file.write_text("\n".join(parts))
        print(name)


if __name__ == "__main__":
    main()
