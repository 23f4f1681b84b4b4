"""Every kernel of the catalog with the JIT off, with bounds checked, with registers of 16 bytes; and what every door says of arguments."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import tinyattn
from tests.kernels.everywhere import NAMES
from tinyattn import definitions, kernels
from tinyattn.catalog import ROWS

HERE = Path(__file__).parent


def run(dtype, names, sizes, **environment):
    done = subprocess.run([sys.executable, "-W", "error", str(HERE / "everywhere.py"), dtype, ",".join(names), sizes], capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), **environment})
    assert done.returncode == 0, done.stderr


def test_every_row_of_the_catalog_with_a_kernel_is_reached():
    assert {row.name for row in ROWS if row.kernel} <= set(NAMES)
    assert [row.name for row in ROWS if not row.kernel and hasattr(kernels, row.name)] == []


def test_uncompiled_every_kernel_is_its_definition():
    run("float64", NAMES, "small", NUMBA_DISABLE_JIT="1")


@pytest.mark.machine
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize("half", [0, 1])
def test_with_registers_of_16_bytes_and_bounds_checked_every_kernel_is_its_definition(half, tmp_path):
    # Compiled without optimisation, which takes half as long and changes neither the width of registers nor what is checked.
    run("float32", NAMES[half::2], "all", NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="+sse2,-avx", NUMBA_BOUNDSCHECK="1", NUMBA_OPT="0",
        NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize("options", [{"colour": 1}, {}], ids=["unknown", "missing"])
@pytest.mark.parametrize("name", NAMES)
def test_arguments_that_are_unknown_or_missing_are_refused_alike_by_all_doors(name, options):
    said = []
    for door in (definitions, kernels, tinyattn):
        with pytest.raises(TypeError) as refusal:
            getattr(door, name)(**options)
        said.append(str(refusal.value))
    assert said[0] == said[1] == said[2]
