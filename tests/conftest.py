"""What all tests share: compiled files, threads of BLAS, the collector of garbage, and the profiles of Hypothesis.

TINYATTN_HYPOTHESIS chooses a profile: `quick` (the default, the same examples every time), `few`, `thorough`.
"""

import gc
import os
import sys

# The tests start a hundred processes, each of which would compile all of the package anew: an import of the kernels takes 0.8 s of
# processor time so, and 0.55 s where the files are.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Two workers whose BLAS has two threads each wait for one another: 16 training steps took 67 s so, and 11 s with one thread.
# NumPy reads this when it is first imported, which is after this file; child processes inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

sys.dont_write_bytecode = False

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.differing_executors]
settings.register_profile("quick", max_examples=8, deadline=None, derandomize=True, database=None,
                          suppress_health_check=QUIET)
settings.register_profile("few", settings.get_profile("quick"), max_examples=3)
settings.register_profile("thorough", max_examples=300, deadline=None, database=None, suppress_health_check=QUIET)
settings.load_profile(os.environ.get("TINYATTN_HYPOTHESIS", "quick"))


def pytest_collection_finish():
    """The collector of garbage would walk over the objects of all tests again and again: that was a tenth of compiling a kernel."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
