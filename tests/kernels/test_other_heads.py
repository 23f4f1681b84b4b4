"""A mask or bias of other heads than the call has is refused by every kernel in the words of its definition."""

import inspect

import numpy as np
import pytest

from tinyattn import alibi, definitions, kernels
from tinyattn.catalog import ROWS
from tinyattn.laws.problem import Sizes
from tinyattn.ops import masks

OPTIONS = {"pattern": ("mask", masks.per_head([masks.causal()] * 5)), "mask": ("mask", np.ones((5, 70, 70), bool)),
           "alibi": ("bias", alibi(np.ones(5))), "bias": ("bias", np.ones((5, 70, 1)))}
# A convolution's bias is one number per channel, and gathered attention takes patterns alone.
OTHERS = {("causal_convolution", "bias"), ("causal_convolution", "alibi"), ("gathered_attention", "mask")}
CASES = [(row, *OPTIONS[kind]) for row in ROWS if row.kernel is not None for kind in OPTIONS
         if OPTIONS[kind][0] in inspect.signature(row.definition).parameters and (row.name, kind) not in OTHERS]


@pytest.mark.parametrize(("row", "option", "given"), CASES, ids=[f"{row.name}-{type(given).__name__}-{option}" for row, option, given in CASES])
def test_other_heads_are_refused_in_the_words_of_the_definition(row, option, given):
    p = row.sample(np.random.default_rng(0), row.fit(Sizes((), 2, 2, 70, 70, 4, 4))).but(**{option: given})
    said = []
    for form in (definitions, kernels):
        with pytest.raises(ValueError, match=f"^{option}: expected") as refusal:
            p.call(row.called(getattr(form, row.name)))
        said.append(str(refusal.value))
    assert said[0] == said[1]
