"""The gradients that the kernels of states give away: they are added to in place and handed out, and so are new arrays each time."""

import numpy as np
import pytest

from tinyattn import kernels, vjp
from tinyattn.ops.features import taylor_features

RNG = np.random.default_rng(0)
LENGTH = 40
X = RNG.standard_normal((2, 2, LENGTH, 4))
X /= np.linalg.norm(X, axis=-1, keepdims=True)
DECAY, BETA = -RNG.random((2, 2, LENGTH)), RNG.random((2, 2, LENGTH))
CASES = {
    "simple_gated_linear_attention": {"log_decay": DECAY},
    "gated_linear_attention": {"log_decay": -RNG.random(X.shape)},
    "delta_rule": {"beta": BETA},
    "gated_delta_rule": {"beta": BETA, "log_decay": DECAY},
    "linear_attention": {"causal": True},
    "features of Taylor": {"causal": True, "feature_map": taylor_features},
}


def mechanism(name):
    return kernels.linear_attention if name == "features of Taylor" else getattr(kernels, name)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_one_array_in_three_places_are_added(name):
    run, gates, d_out = mechanism(name), CASES[name], RNG.standard_normal(X.shape)
    parts = vjp(lambda p: run(p["q"], p["k"], p["v"], **gates), {"q": X, "k": X, "v": X})[1](d_out)
    total = vjp(lambda x: run(x, x, x, **gates), X)[1](d_out)
    np.testing.assert_allclose(total, parts["q"] + parts["k"] + parts["v"], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_that_is_written_over_changes_nothing_else(name):
    run, gates, d_out = mechanism(name), CASES[name], RNG.standard_normal(X.shape)
    arrays = {"q": X, "k": 2 * X, "v": 3 * X, **{option: gate for option, gate in gates.items() if isinstance(gate, np.ndarray)}}
    others = {option: gate for option, gate in gates.items() if option not in arrays}
    out, pull = vjp(lambda p: run(p["q"], p["k"], p["v"], **{gate: p[gate] for gate in gates if gate in arrays}, **others), arrays)
    want, kept = {argument: gradient.copy() for argument, gradient in pull(d_out).items()}, out.copy()
    for argument in arrays:
        found = pull(d_out)
        found[argument][...] = np.nan
        for other in found:
            if other != argument:
                np.testing.assert_array_equal(found[other], want[other])
    np.testing.assert_array_equal(out, kept)
    for argument, gradient in pull(d_out).items():
        np.testing.assert_array_equal(gradient, want[argument])
