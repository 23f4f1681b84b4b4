"""What a build prints: Sphinx's own progress without messages that mean nothing to a writer, and failed cells in plain words."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

NOISE = ("ParserConfig(", "Writing evaluated template result", "Using jupyter-cache", "Using cached notebook",
         "Executing notebook using", "Cached executed notebook", "Notebook exception traceback saved")
FAILED = re.compile(r"Executing notebook failed: .*?following cell:\n-*\n(?P<cell>.*?)\n-{9,}\n"
                    r".*?(?P<error>[^\n]+?)(?:\s*\[mystnb\.exec\])*\s*$", re.S)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shortened(message: str) -> str:
    r"""Returns the message of a failed cell as the error and the cell; every other message unchanged.

    >>> said = "Executing notebook failed: E\nT\nE: the following cell:\n----\nx = 1\ny\n---------\n\nKeyError: y\n\n [mystnb.exec]"
    >>> print(shortened(said))
    a cell fails with KeyError: y. It is
    <BLANKLINE>
        x = 1
        y
    <BLANKLINE>
    """
    found = FAILED.search(COLOUR.sub("", message))
    if found is None:
        return message
    cell = "\n".join(f"    {line}" for line in found["cell"].splitlines())
    return f"a cell fails with {found['error']}. It is\n\n{cell}\n"


class Plain(logging.Filter):
    """Drops noise from the messages of a build, and shortens those about failed cells."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a message is printed."""
        message = logging.LogRecord.getMessage(record)
        record.msg, record.args = shortened(message), ()
        return not any(noise in message for noise in NOISE)


def plainly(folder: Path) -> None:
    """Filters what Sphinx prints, and gives the kernels that run the cells a profile in which they print errors only."""
    for handler in logging.getLogger("sphinx").handlers:
        handler.addFilter(Plain())
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 40\n")
    os.environ["IPYTHONDIR"] = str(folder)
