"""conformance() in a run of pytest: one test per question, known failures strict, reasons for what is not tested; and what an import loads."""

import subprocess
import sys

import pytest

from tinyattn.testing.conform import judge

pytest_plugins = "pytester"
MINE = """
import numpy as np
from tinyattn.definitions import attention
from tinyattn.testing import conformance

def mine(q, k, v, causal=False):
    print("noise")
    return attention(q, k, v, mask=np.tri(q.shape[-2], k.shape[-2], dtype=bool) if causal else None)

test_mine = conformance(mine, gradients=False, {more})
"""


def test_a_word_that_does_not_exist_is_said_without_a_traceback(pytester):
    pytester.makepyfile(MINE.replace("{more}", "dialect='pytorch'"))
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["conformance: dialect: *did you mean torch*"])
    assert "Traceback" not in result.stdout.str()
    assert "suite.py" not in result.stdout.str()


@pytest.mark.parametrize(("more", "passed", "failed", "xfailed"), [
    ("dialect={'causal': 'top-left'}", True, 0, 0), ("", True, 1, 0), ("known={'causal': 'https://example.org/1'}", True, 0, 1),
    ("dialect={'causal': 'top-left'}, known={'causal': 'https://example.org/1'}", True, 1, 0)])
def test_one_test_per_question(pytester, monkeypatch, more, passed, failed, xfailed):
    monkeypatch.setattr(judge, "PROBLEMS", 4)
    pytester.makepyfile(MINE.replace("{more}", more))
    result = pytester.runpytest_inprocess("-q", "-rs", "-p", "no:cacheprovider")
    told = result.parseoutcomes()
    assert told.get("failed", 0) == failed
    assert told.get("xfailed", 0) == xfailed
    assert told["passed"] + failed + xfailed >= 8
    assert told["skipped"] >= 5
    if failed and "known" in more:
        result.stdout.fnmatch_lines(["*remove it from*"])
    if failed and not more:
        result.stdout.fnmatch_lines(["*DIFFERS*first query sees the first key alone*"])


def test_the_function_and_its_folder_share_a_name_and_no_hypothesis_is_loaded():
    code = ("import sys; import tinyattn.testing; from tinyattn.testing import conform, conformance; "
            "from tinyattn.testing.conform.judge import conform as inner; import tinyattn.testing.conform; "
            "print(conform is inner is tinyattn.testing.conform, 'hypothesis' in sys.modules)")
    printed = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, text=True, capture_output=True,
                             check=True).stdout
    assert printed.split() == ["True", "False"]
