"""What a mechanism with a state takes for 32,768 tokens, beside its arrays: what its primitives keep, and 64 MiB per thread."""

from pathlib import Path

import pytest

from tests.kernels.peak import peak_of
from tinyattn import kernels, vjp
from tinyattn.cli.timing.mechanism_case import DIM, HEADS, drawn, has_gradient
from tinyattn.cli.timing.mechanism_cases import CASES
from tinyattn.kernels.tiles import pages
from tinyattn.laws.law import outputs

LENGTH, THREAD = 1 << 15, 64 << 20
VALUES = HEADS * LENGTH * DIM * 4
STATUS, REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# All kernels of the folder of linear attention, but the convolution, which has no state but a few tokens.
NAMES = {case.label: case for case in CASES if getattr(kernels, case.name).__module__.startswith("tinyattn.kernels.linear.")
         and case.name != "causal_convolution"}


def resident(key):
    """Returns a number of bytes of this process; 0 where the system does not say."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(key)), 0)


def called(case, length):
    """Returns a call with its gradients, and the size of what it is given, gives and gives back."""
    given = case.arguments(*drawn(length))
    arrays = {name: x for name, x in given.items() if has_gradient(x)}
    fixed = case.options | {name: x for name, x in given.items() if name not in arrays}
    size = sum(x.nbytes for x in arrays.values())

    def run():
        out, pull = vjp(lambda tree: outputs(getattr(kernels, case.name)(**tree, **fixed))[0], arrays)
        slopes = pull(out)
        return out.nbytes + size + sum(x.nbytes for x in slopes.values())

    return run


def test_the_list_is_whole():
    linear = {name for name in kernels.__all__ if getattr(kernels, name).__module__.startswith("tinyattn.kernels.linear.")}
    assert NAMES.keys() == linear - {"causal_convolution"}


@pytest.mark.parametrize("name", NAMES)
def test_a_long_text_takes_two_values_and_a_threads_room_beside_its_arrays(name):
    case = NAMES[name]
    with kernels.threads(1):
        called(case, 256)()  # what is compiled does not count
        run = called(case, LENGTH)
        if REFS.exists():
            REFS.write_text("5")
        pages.kept.clear()
        before = resident("VmRSS")
        peak, arrays = peak_of(run)
    # What kernels allocate only the system sees. It may find some of it free, so that it tells less, never more.
    own = max(peak, resident("VmHWM") - before) - arrays
    assert own <= 2 * VALUES + THREAD, f"{own / 2 ** 20:.0f} MiB"
