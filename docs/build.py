"""Builds the documentation and opens it: python docs/build.py [--only PAGE] [--only-build]."""

from __future__ import annotations

import argparse
import difflib
import sys
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DOCS = Path(__file__).resolve().parent
BUILD = DOCS.parent / "build" / "docs"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without logging each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing."""


def page_named(name: str) -> str:
    """Returns a page's name relative to docs, without .md; ValueError if there is no such page.

    >>> page_named("docs/reading/4_streaming.md")
    'reading/4_streaming'
    >>> page_named("conventions")
    'conventions'
    """
    page = name.removeprefix("docs/").removesuffix(".md")
    pages = [path.relative_to(DOCS).with_suffix("").as_posix() for path in sorted(DOCS.rglob("*.md"))]
    if page not in pages:
        near = difflib.get_close_matches(page, pages, n=1)
        raise ValueError(f"--only: there is no page {page}" + "".join(f"; did you mean {other}?" for other in near))
    return page


def arguments(page: str | None) -> list[str]:
    """Returns the arguments of Sphinx for the whole site, or for one page, whose links to other pages then lead nowhere."""
    folder = BUILD if page is None else BUILD / "only"
    part = [] if page is None else [
        f"-Droot_doc={page}", f"-Dinclude_patterns={page}.md", "-Dsuppress_warnings=toc,ref,myst.xref_missing"]
    return ["-W", "--keep-going", "-j", "auto", "-b", "html", "-d", str(folder / "doctrees"), *part, str(DOCS), str(folder / "html")]


def show(folder: Path, page: str) -> None:
    """Serves the site on this machine and opens it; the live page cannot run from a file."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        address = f"http://127.0.0.1:{server.server_port}/{page}"
        print(f"{address} until Ctrl-C")
        webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main() -> int:
    """Builds, shows what was built if that succeeded, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="PAGE", help="build this page alone, such as reading/4_streaming")
    parser.add_argument("--only-build", action="store_true", help="build without serving and opening the site")
    given = parser.parse_args()
    try:
        page = None if given.only is None else page_named(given.only)
    except ValueError as error:
        parser.error(str(error))
    from sphinx.cmd.build import main as sphinx
    code = sphinx(arguments(page))
    if code == 0 and not given.only_build:
        show(BUILD / "html" if page is None else BUILD / "only" / "html", "" if page is None else f"{page}.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
