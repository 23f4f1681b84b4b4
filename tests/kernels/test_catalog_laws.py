"""The laws of every mechanism of the catalog, tried on its kernel as `tinyattn check` tries them on its definition."""

import numpy as np
import pytest

from tinyattn import kernels
from tinyattn.catalog import ROWS
from tinyattn.laws import check

# The laws of attention itself are tried in `test_attention.py`.
CASES = [row for row in ROWS if row.kernel and row.name != "attention"]
DEFINITION = ("equals_the_definition", "gradients_equal_the_definition")


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_every_law_of_a_mechanism_holds_of_its_kernel(row):
    kernel, broken = row.called(getattr(kernels, row.name)), []
    for number, law in enumerate(row.laws):
        # Half of the problems are float64 and half float32. Each law has a seed of its own, so that a row sees many sizes.
        report = check(law.fitted(row.fit), kernel, honest=row.mechanism, rng=np.random.default_rng(number),
                       examples=4 if law.name in DEFINITION else 2)
        if not report.holds:
            broken.append(f"{law.name} (seed {number}): {report.failing}")
    assert not broken, "\n".join(broken)
