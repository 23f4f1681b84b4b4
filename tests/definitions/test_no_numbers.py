"""What every mechanism does with keys that no query sees, and with gates that are no numbers."""

import inspect

import numpy as np
import pytest

from tinyattn.catalog import ROWS
from tinyattn.laws.problem import Sizes

SIZES = Sizes(q_len=6, kv_len=6)
TAKES = {row.name: inspect.signature(row.definition).parameters.keys() for row in ROWS}
# Mechanisms in which a mask may hide a key from every query; those of a grid have masks of their lines.
MASKED = [row for row in ROWS if {"mask", "causal"} <= TAKES[row.name] and "grid" not in TAKES[row.name]]
GATES = {"log_decay", "read", "write", "removal", "rate", "bonus", "slopes", "input_gate", "forget_gate", "level_scales", "ridge", "log_forget",
         "offset", "factor", "log_scale", "weights"}


def drawn(row, seed=1):
    return row.sample(np.random.default_rng(seed), row.fit(SIZES))


def first(out):
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("row", MASKED, ids=[row.name for row in MASKED])
def test_a_key_that_no_query_sees_may_hold_anything(row):
    p = drawn(row)
    seen = np.arange(p.k.shape[-2]) != 4
    masked = p.but(mask=np.broadcast_to(seen, (p.q.shape[-2], len(seen))).copy())
    want = first(masked.call(row.mechanism))
    for odd in (np.nan, np.inf, -np.inf):
        hidden = masked.but(**{name: np.where(seen[:, None], getattr(p, name), odd) for name in ("k", "v")})
        np.testing.assert_allclose(first(hidden.call(row.mechanism)), want, rtol=1e-12, atol=1e-12)


NAMED = [(row, name) for row in ROWS for name, x in drawn(row).options.items() if name in GATES and isinstance(x, np.ndarray)]


@pytest.mark.parametrize(("row", "name"), NAMED, ids=[f"{row.name}-{name}" for row, name in NAMED])
def test_a_gate_of_nan_is_refused_by_its_name(row, name):
    p = drawn(row)
    gate = p.options[name].copy()
    gate[(-1,) * gate.ndim] = np.nan
    with pytest.raises(ValueError, match=f"^{name}: "):
        p.but(**{name: gate}).call(row.mechanism)
