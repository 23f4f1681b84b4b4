"""One token whose values are several micro tiles wide: every walk over the state gives what the definition gives."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyattn import definitions, kernels
from tinyattn.laws.budget import growing, sufficient
from tinyattn.laws.law import plain
from tinyattn.laws.problem import Problem
from tinyattn.testing.compare import explain

# Three queries read each state: two in one walk and one alone. Columns: several micro tiles at once, one by one, and a rest.
HEADS, KV_HEADS, DIM, WIDE = 6, 2, 5, 301
TOKEN, CHANNELS = (KV_HEADS, 1), (KV_HEADS, 1, DIM)
# Which options a mechanism takes, and their shapes.
CASES = {
    "linear_attention": {}, "retention": {"log_decay": (KV_HEADS,)}, "simple_gated_linear_attention": {"log_decay": TOKEN},
    "gated_linear_attention": {"log_decay": CHANNELS}, "delta_rule": {"beta": TOKEN}, "gated_delta_rule": {"beta": TOKEN, "log_decay": TOKEN},
    "kimi_delta_attention": {"beta": TOKEN, "log_decay": CHANNELS},
    "generalized_delta_rule": {"log_decay": CHANNELS, "read": CHANNELS, "write": CHANNELS},
    "rwkv7": {"log_decay": CHANNELS, "removal": CHANNELS, "rate": CHANNELS}}


def drawn(name, dtype):
    rng = np.random.default_rng(len(name))
    options = {option: -rng.random(shape) if option == "log_decay" else rng.random(shape) for option, shape in CASES[name].items()}
    state = rng.standard_normal((KV_HEADS, DIM, WIDE))
    if name == "linear_attention":
        options |= {"causal": True, "normalize": False}
    p = Problem(rng.standard_normal((HEADS, 1, DIM)), rng.standard_normal(CHANNELS) / DIM, rng.standard_normal((KV_HEADS, 1, WIDE)),
                options | {"initial_state": state, "return_state": True})
    return p.astype(dtype)


def check(name, dtype):
    p, definition = drawn(name, dtype), getattr(definitions, name)
    got = plain(getattr(kernels, name), p)
    explain(sufficient(growing((plain,), definition, p, np.random.default_rng(1), reorder=False), got), got, ("out", "state"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_a_token_of_wide_values_is_folded_and_read_as_the_definition_does(name, dtype):
    check(name, dtype)


def test_uncompiled_it_is_the_same():
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import numpy as np, test_wide_tokens as t; " \
           "[t.check(name, np.float64) for name in t.CASES]"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
                          env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
    assert done.returncode == 0, done.stderr
