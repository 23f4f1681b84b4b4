"""The conformance kit: judges an attention that somebody else wrote, in whatever library.

Its files, in reading order:

    cases.py                calls described by a seed, sizes and options
    dialect.py              where right kernels differ, and the definition in a dialect
    axes.py                 layouts of arrays
    libraries.py            arrays of other libraries
    failures.py             how a call fails
    stranger.py             the kernel that is judged, behind its arrays and layout
    budgets.py              how far a kernel may be off
    probe.py                small calls that tell dialects apart
    nearest.py              the nearest known bug
    script.py               a failure in ten lines of NumPy
    report.py               verdicts and findings
    shrink.py               failures made small
    run.py                  questions asked, cases judged
    hazards.py              NaN and inf where nobody looks
    likeness.py             kernels of other mechanisms
    isolated.py             a kernel in a child process
    judge.py                conform
    suite.py                the same as pytest tests
    command.py              a kernel that is a program
    target.py               module:function
    vectors.py              inputs, outputs and allowed errors as files
"""

from tinyattn.testing.conform.judge import conform
from tinyattn.testing.conform.report import Finding, Report
from tinyattn.testing.conform.suite import conformance

__all__ = ["Finding", "Report", "conform", "conformance"]
