"""Windows of a grid, some at a time: how many has no effect, whatever stands beside the scores."""

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.spatial import by_windows
from tinyattn.ops import alibi, masks, relative

RNG = np.random.default_rng
GRID, WINDOWS, CELLS = (6, 4), 4, 6
TABLE = RNG(0).standard_normal((3, 4))
# What axial attention along the first axis, 4 windows of 6 cells, is given beside queries, keys and values.
BESIDE = {
    "nothing": {}, "causal": {"causal": True, "softcap": 2.0}, "sinks": {"sinks": RNG(1).standard_normal(4)},
    "bias": {"bias": RNG(2).standard_normal((4, CELLS, CELLS))}, "bias per window": {"bias": RNG(3).standard_normal((WINDOWS, 1, CELLS, CELLS))},
    "mask": {"mask": RNG(4).random((WINDOWS, 4, CELLS, CELLS)) < 0.6}, "pattern": {"mask": masks.strided(2), "window": (3, 1)},
    "pattern per window": {"mask": masks.padding(np.array([6, 2, 0, 5]))},
    "slopes": {"bias": alibi(np.linspace(0.1, 0.4, 4))}, "distances": {"bias": relative(TABLE, lambda d: np.clip(d, -1, 1) + 1)},
}


def of(door, name, tree, rest):
    return vjp(lambda t: getattr(door, name)(**t, **rest), tree)


def agrees(name, tree, rest):
    """Asserts that a kernel gives the output and the gradients of the definition."""
    (got, pull), (want, pull_want) = (of(door, name, tree, rest) for door in (kernels, definitions))
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)
    slopes, wanted = pull(np.cos(want)), pull_want(np.cos(want))
    for each in tree:
        np.testing.assert_allclose(slopes[each], wanted[each], rtol=1e-10, atol=1e-12, err_msg=each)


@pytest.mark.parametrize("together", [1, 1 << 19])
@pytest.mark.parametrize("beside", BESIDE)
def test_axial_attention_some_windows_at_a_time_is_that_of_the_definition(beside, together, monkeypatch):
    monkeypatch.setattr(by_windows, "TOGETHER", together)
    rng, options = RNG(5), BESIDE[beside]
    learned = {name: x for name, x in options.items() if isinstance(x, np.ndarray) and x.dtype != bool}
    lead = () if "per window" in beside else (2,)
    tree = {name: rng.standard_normal((*lead, heads, 24, 5)) for name, heads in (("q", 4), ("k", 2), ("v", 2))} | learned
    rest = {"grid": GRID, "axis": 0} | {name: x for name, x in options.items() if name not in learned}
    agrees("axial_attention", tree, rest)


def test_learned_distances_have_the_gradient_of_all_windows(monkeypatch):
    monkeypatch.setattr(by_windows, "TOGETHER", 1)
    rng, found = RNG(6), []
    q, k, v = (rng.standard_normal((4, 24, 5)) for _ in range(3))
    for door in (kernels, definitions):
        out, pull = vjp(lambda t, door=door: door.axial_attention(
            q, k, v, grid=GRID, axis=0, bias=relative(t, lambda d: np.clip(d, -1, 1) + 1)), TABLE)
        found.append(pull(np.cos(out)))
    np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("together", [1, 300, 1 << 19])
def test_shifted_windows_some_at_a_time_are_those_of_the_definition(together, monkeypatch):
    monkeypatch.setattr(by_windows, "TOGETHER", together)
    rng = RNG(7)
    tree = {name: rng.standard_normal((2, 2, 8 * 12, 5)) for name in "qkv"} | {"bias_table": rng.standard_normal((49, 2))}
    rest = {"grid": (8, 12), "window": 4, "shift": (1, 3)}
    agrees("shifted_window_attention", tree, rest)


def test_what_is_hidden_in_a_window_reaches_nobody_when_windows_are_taken_one_by_one(monkeypatch):
    monkeypatch.setattr(by_windows, "TOGETHER", 1)
    q, k, v = (RNG(8).standard_normal((1, 24, 5)) for _ in range(3))
    seen = np.ones((WINDOWS, 1, CELLS, CELLS), bool)
    seen[2, ..., 3] = False  # the fourth cell of the third column is cell 14
    found = []
    for hidden in (0.0, np.nan):
        k[:, 14], v[:, 14] = hidden, hidden
        out, pull = vjp(lambda t: kernels.axial_attention(*t, grid=GRID, axis=0, mask=seen), (q, k, v))
        found.append((out, *pull(np.ones_like(out))))
    for plain, poisoned in zip(*found, strict=True):
        np.testing.assert_array_equal(poisoned, plain)
