"""Builds the documentation and opens it: python docs/build.py [--only-build]."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a measured curve of growth has no steps where threads begin

from making import outside
from sphinx.cmd.build import main as sphinx

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "docs"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def build() -> int:
    """Builds the site, warnings as errors; returns Sphinx's exit code."""
    absent = outside.runtime(BUILD / "static" / "pyodide", BUILD / "downloads")
    if absent:
        print(f"the live page keeps its picture and cannot run: {absent}")
    outside.mathjax(BUILD / "static" / "mathjax")
    outside.wheel(ROOT, BUILD / "static" / "wheel")
    return sphinx(["-W", "--keep-going", "-q", "-b", "html", "-d", str(BUILD / "doctrees"), str(ROOT / "docs"), str(BUILD / "html")])


def show() -> None:
    """Serves the site on this machine and opens it; the live page cannot run from a file."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(BUILD / "html"))) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"{address} until Ctrl-C")
        webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-build", action="store_true", help="build, and do not serve or open")
    given = parser.parse_args()
    code = build()
    if code == 0 and not given.only_build:
        show()
    sys.exit(code)
