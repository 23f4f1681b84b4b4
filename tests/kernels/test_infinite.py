"""+inf in a bias and in sinks means to the kernels what it means to the definitions: their cases, run on the kernels."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tinyattn import kernels
from tinyattn.engine.grad import grad

_spec = importlib.util.spec_from_file_location("infinite", Path(__file__).parents[1] / "definitions" / "test_infinite.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)
FORMS = {"attention": kernels.attention, "with lse": lambda *a, **o: kernels.attention_with_lse(*a, **o)[0]}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("options", "want"), [case[1:] for case in cases.CASES], ids=[case[0] for case in cases.CASES])
def test_only_what_a_query_sees_counts(name, options, want):
    np.testing.assert_allclose(FORMS[name](cases.K, cases.K, cases.V, **options)[0, :, 0], want, rtol=1e-15)


@pytest.mark.parametrize("name", FORMS)
def test_gradients_and_sinks(name):
    bias = np.array([[0.0, np.inf, 0.0], [0.0, 0.0, -np.inf], [0.0, 0.0, -np.inf]])
    learned = grad(lambda b: FORMS[name](cases.K, cases.K, cases.V, bias=b).sum())(bias)
    np.testing.assert_allclose(learned, [[0, 0, 0], [-0.25, 0.25, 0], [-0.25, 0.25, 0]], atol=1e-15)
    with pytest.raises(ValueError, match=r"sinks: expected numbers below \+inf"):
        FORMS[name](cases.K, cases.K, cases.V, sinks=np.array([np.inf]))
