"""Problems: options with one entry per token are those that the definitions declare, and are cut with the tokens."""

import inspect

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.laws import check
from tinyattn.laws.draw.linear import gated
from tinyattn.laws.problem import TOKENS, Problem, Sizes

DECLARED = {name: getattr(definitions, name).per_token for name in definitions.__all__ if getattr(getattr(definitions, name), "per_token", {})}


def test_definitions_declare_their_options_per_token():
    assert definitions.gated_linear_attention.per_token == {"log_decay": "(j,d)"}
    assert definitions.gated_delta_rule.per_token == {"beta": "(j)", "log_decay": "(j)"}
    assert definitions.attention.per_token == {}
    assert definitions.retention.per_token == {}  # its decay is one number per head
    assert TOKENS == {"q_rope", "k_index", "q_factors", "k_factors", "v_factors"} | {name for declared in DECLARED.values() for name in declared}


@pytest.mark.parametrize("name", DECLARED)
def test_what_is_declared_is_a_parameter(name):
    assert set(DECLARED[name]) <= set(inspect.signature(getattr(definitions, name)).parameters)


def test_options_per_token_are_cut_with_the_tokens():
    sizes = Sizes(leading=(2,), q_len=7, kv_len=7, head_dim=7, value_dim=7)  # no axis can be told from another by its length
    p = gated("log_decay", "beta", channels=True)(np.random.default_rng(0), sizes)
    assert p.per_token() == {"log_decay": -2, "beta": -1}
    part = p.tokens(slice(2, 5))
    np.testing.assert_array_equal(part.options["log_decay"], p.options["log_decay"][:, :, 2:5])
    np.testing.assert_array_equal(part.options["beta"], p.options["beta"][:, :, 2:5])
    np.testing.assert_array_equal(part.k, p.k[:, :, 2:5])


def test_an_option_per_head_is_not_cut():
    x = np.zeros((3, 4, 2))
    assert Problem(x, x, x, {"log_decay": np.zeros(3), "sinks": np.zeros(4)}).per_token() == {}


def test_a_name_is_not_a_law():
    with pytest.raises(TypeError, match="law: expected a Law.*got str"):
        check("keys_may_shift", definitions.attention, honest=definitions.attention, rng=np.random.default_rng(0))
