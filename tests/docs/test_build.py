"""What a build of the pages is asked for, and what it prints."""

import logging

import build
import pytest
from making import told

FAILED = """Executing notebook failed: CellExecutionError
Traceback (most recent call last):
  File "client.py", line 918, in _check_raise_for_error
nbclient.exceptions.CellExecutionError: An error occurred while executing the following cell:
------------------
x = np.array([0.5])
print(los(x))
------------------


\x1b[31m---------------------------------------------------------------------------\x1b[39m
\x1b[31mNameError\x1b[39m                                 Traceback (most recent call last)
\x1b[32m----> 2\x1b[39m print(los(x))

\x1b[31mNameError\x1b[39m: name 'los' is not defined

 [mystnb.exec] [mystnb.exec]"""


def printed(message: str, *args: object) -> str | None:
    record = logging.LogRecord("sphinx", logging.WARNING, "", 0, message, args, None)
    return record.getMessage() if told.Plain().filter(record) else None


def test_a_failed_cell_is_shown_with_its_error_and_nothing_else():
    assert printed(FAILED) == "a cell fails with NameError: name 'los' is not defined. It is\n\n    x = np.array([0.5])\n    print(los(x))\n"


def test_progress_is_printed_and_settings_are_not():
    assert printed("reading sources... %s of 100%%", "50%") == "reading sources... 50% of 100%"
    assert printed("%s: NbParserConfig(custom_formats={})", "myst-nb") is None


def test_one_page_is_built_apart_from_the_site():
    whole, one = build.arguments(None), build.arguments("reading/4_streaming")
    assert "-Dinclude_patterns=reading/4_streaming.md" in one
    assert not any("include_patterns" in argument for argument in whole)
    assert whole[-1] != one[-1]
    assert "-W" in whole
    assert "-W" in one


def test_a_page_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no page reading/4_steaming; did you mean reading/4_streaming\?"):
        build.page_named("reading/4_steaming.md")
