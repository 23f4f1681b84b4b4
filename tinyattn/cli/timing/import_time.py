"""The import of the package."""

from __future__ import annotations

import statistics
import subprocess
import sys

from tinyattn.cli.outputs import Line
from tinyattn.cli.timing.table import Table

CODE = "import time, numpy; t = time.perf_counter(); import tinyattn; print(time.perf_counter() - t)"


def time_import(rounds: int) -> list[Line]:
    """Returns what `import tinyattn` costs over `import numpy`, in at least ten fresh processes."""
    each = [float(subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True).stdout)
            for _ in range(max(rounds, 10))]
    return [{"import tinyattn, over numpy": "median", "ms": f"{1e3 * statistics.median(each):.1f}"}]


TABLE = Table("`import tinyattn` after `import numpy`", time_import)
