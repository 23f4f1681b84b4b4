"""Fails when a test was skipped that is not on the committed list; prints how many ran and how many were skipped."""

import sys
from pathlib import Path
from xml.etree import ElementTree


def main(allowed: str, *reports: str) -> int:
    """Returns 0 if every skipped test of the JUnit reports stands in the list, else 1."""
    lines = [line.partition("#") for line in Path(allowed).read_text().splitlines()]
    known = {name.strip() for name, _, _ in lines if name.strip()}
    unexplained = [name.strip() for name, _, reason in lines if name.strip() and not reason.strip()]
    cases = [case for report in reports for case in ElementTree.parse(report).iter("testcase")]
    skipped = [case for case in cases if case.find("skipped") is not None]
    names = {f"{case.get('classname')}::{case.get('name')}" for case in skipped}
    unknown = {name for name in names if not {name, name.partition("[")[0]} & known}  # a test's name stands for all its cases
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    for name in sorted(unknown):
        print(f"skipped, but not on {allowed}: {name}")
    for name in unexplained:
        print(f"on {allowed} without a reason: {name}")
    print(f"{len(cases) - len(skipped) - failed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if unknown or unexplained else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
