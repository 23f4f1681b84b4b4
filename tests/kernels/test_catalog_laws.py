"""The laws of every mechanism of the catalog, tried on its kernel as `tinyattn check` tries them on its definition."""

import numpy as np
import pytest

from tinyattn import kernels
from tinyattn.catalog import ROWS, find
from tinyattn.laws import Sizes, check, judge

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


# Problems, by their seeds, on which a definition rounds less than its kernel does: one channel, gates that leave little, flat caps.
ROUNDED = [("path_attention", "equals_the_definition", Sizes(q_len=13, kv_len=13, head_dim=1, regime="spiky"), (24, 115)),
           ("delta_product", "gradients_equal_delta_product_chunked", Sizes(q_len=2, kv_len=2), (33, 99)),
           ("attention", "gradients_equal_streaming_attention",
            Sizes(leading=(), kv_heads=1, groups=1, q_len=5, kv_len=4, head_dim=1, value_dim=1, regime="spiky", dtype="float32"), (222, 549)),
           ("sigmoid_attention", "equals_exponentials",
            Sizes(leading=(2, 2), kv_heads=3, q_len=5, kv_len=13, head_dim=1, value_dim=1), (2, 46, 83))]


@pytest.mark.parametrize(("name", "law", "sizes", "seeds"), ROUNDED, ids=[case[0] for case in ROUNDED])
def test_a_kernel_may_round_where_its_definition_happens_not_to(name, law, sizes, seeds):
    row = find(name)
    kernel, tried = row.called(getattr(kernels, name)), next(one for one in row.laws if one.name == law)
    for seed in seeds:
        problem = tried.draw(np.random.default_rng(seed), sizes)
        assert judge(tried, kernel, problem, honest=row.mechanism, rng=np.random.default_rng(seed)).holds
