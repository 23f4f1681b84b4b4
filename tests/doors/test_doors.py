"""No public function trusts its caller: each argument damaged in turn gives an error that names it, or the right value.

The calls are made in a child process, which says before each call what it will do: a crash by a signal is seen, and the
calls after it are made by the next child.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).parent / "child.py"
PACKAGES = [path.stem.removeprefix("samples_") for path in sorted(CHILD.parent.glob("samples_*.py"))]


def faults_of(package):
    """Returns how many calls were made, and the faults."""
    start, faults = 0, []
    while True:
        done = subprocess.run([sys.executable, str(CHILD), package, str(start)], capture_output=True, text=True, timeout=600,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        faults += [f"{call}: {fault}" for _, call, fault in (line for line in lines if len(line) == 3) if fault is not None]
        if done.returncode == 0:
            return lines[-1][0] + 1, faults
        if not lines or len(lines[-1]) != 2:
            raise AssertionError(f"{package}: the child ended before a call: {done.stderr}")
        number, call = lines[-1]
        faults.append(f"{call}: the process ended with {done.returncode}: {done.stderr[-200:]}")
        start = number + 1


@pytest.mark.parametrize("package", PACKAGES)
def test_every_damaged_argument_is_refused_by_name_or_right(package):
    count, faults = faults_of(package)
    assert not faults, f"{len(faults)} of {count} calls\n" + "\n".join(faults)
