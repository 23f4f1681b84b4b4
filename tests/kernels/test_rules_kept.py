"""What the compiler makes of a score rule is kept: once for all constants, on disk, and without it the rule is NumPy."""

import os
import subprocess
import sys

import numpy as np

from tinyattn.kernels.rules import native, tiles
from tinyattn.ops import ScoreRule
from tinyattn.ops.score_rule import check_score


def compiled(function):
    full, dtype = (1, 1, 4, 4), np.dtype(np.float32)
    return tiles.compiled_rule(check_score(ScoreRule(function), full, dtype), full, dtype)


def test_rules_that_differ_in_a_constant_are_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(native, "ADDRESSES", {})
    made = []
    build = native.compiled
    monkeypatch.setattr(native, "compiled", lambda module: (made.append(1), build(module))[1])
    first = compiled(lambda s, i, j: s * 3.25 - abs(i - j) * 1.0)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(made) == len(files) == 2
    for slope in (0.0, 1.0, 2.0, 0.3):
        again = compiled(lambda s, i, j, slope=slope: s * 0.5 - abs(i - j) * slope)
        assert (again.forward, again.backward) == (first.forward, first.backward)
        assert again.constants[1] == np.float32(slope)
    native.ADDRESSES.clear()
    compiled(lambda s, i, j: s * 3.25 - abs(i - j) * 1.0)
    assert len(made) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])  # cut short: compiled again
    native.ADDRESSES.clear()
    compiled(lambda s, i, j: s * 3.25 - abs(i - j) * 1.0)
    assert len(made) == 4
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path / "file" / "below")
    (tmp_path / "file").write_text("")
    native.ADDRESSES.clear()
    compiled(lambda s, i, j: s * 3.25 - abs(i - j) * 1.0)
    assert len(made) == 6


CHILD = """
import numpy as np
from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.rules import native
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.ops import ScoreRule
assert DISABLED and not native.ADDRESSES
x = np.random.default_rng(0).standard_normal((1, 2, 5, 3))
a, b = np.array([0.5, 0.7])[:, None, None], np.linspace(0.1, 0.5, 5)
f = lambda s, i, j, a, b: np.where(i - j < 3, s * (i - j + 1.0) ** -a, np.tanh(s * b)) + np.clip(s, None, 0.3)
found = []
for door in (definitions, kernels):
    out, pull = vjp(lambda t: door.attention(*t[:3], causal=True, score=ScoreRule(f, *t[3:])), [x, x, x, a, b])
    found.append([out, *pull(np.cos(out))])
for want, got in zip(*found):
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
"""


def test_without_the_jit_it_is_numpy():
    done = subprocess.run([sys.executable, "-W", "error", "-c", CHILD], capture_output=True, text=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
    assert done.returncode == 0, done.stderr
