"""What compiled score rules cost: nothing is compiled in a second process, few queries need no tiles, one copy of a number per pair."""

import os
import subprocess
import sys

import numpy as np
import pytest

import tinyattn
from tests.kernels.peak import peak_of
from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.exact.primitive import few
from tinyattn.kernels.rules import native, tiles
from tinyattn.kernels.tiles.storage import sizes_of
from tinyattn.ops import ScoreRule, alibi
from tinyattn.ops.score_rule import check_score

RNG = np.random.default_rng
RULE = "lambda s, i, j, p: s * p - abs(i - j) * 0.3"  # differs from the first process in a constant
SECOND = """
import numpy as np
from tinyattn.kernels.rules import native, tiles
from tinyattn.ops import ScoreRule
from tinyattn.ops.score_rule import check_score

def compiled(module):
    raise AssertionError("a rule was compiled again")

native.compiled = compiled
rule = check_score(ScoreRule({rule}, np.ones((2, 1, 1))), (1, 2, 4, 4), np.dtype(np.float64))
found = tiles.compiled_rule(rule, (1, 2, 4, 4), np.dtype(np.float64))
assert found.forward and found.backward and found.forward != found.backward
"""


def test_a_second_process_compiles_nothing_and_adds_no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native, "ADDRESSES", {})
    rule = check_score(ScoreRule(lambda s, i, j, p: s * p - abs(i - j) * 0.5, np.ones((2, 1, 1))), (1, 2, 4, 4), np.dtype(np.float64))
    tiles.compiled_rule(rule, (1, 2, 4, 4), np.dtype(np.float64))
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(kept) == 2
    done = subprocess.run([sys.executable, "-W", "error", "-c", SECOND.format(rule=RULE)], capture_output=True, text=True,
                          env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept


def drawn(q_len, kv_len, width=16):
    rng = RNG(0)
    return [rng.standard_normal((2, heads, n, width)) for heads, n in ((4, q_len), (2, kv_len), (2, kv_len))]


def sided(door, function, arrays, parameters, **options):
    """Returns the results and all gradients."""
    out, pull = vjp(lambda t: door.attention_with_lse(*t[:3], score=ScoreRule(function, *t[3:]), **options), [*arrays, *parameters])
    return [*out, *pull(tuple(np.cos(np.arange(x.size, dtype=float)).reshape(x.shape) for x in out))]


OPTIONS = {"plain": {}, "window": {"window": (140, 0), "softcap": 3.0}, "bias": {"bias": alibi(np.linspace(0.1, 0.4, 4)), "causal": True},
           "sinks": {"sinks": RNG(4).standard_normal(4), "scale": 0.3}, "mask": {"mask": RNG(2).random((2, 4, 2, 200)) < 0.6}}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OPTIONS)
def test_few_queries_are_the_definitions(name):
    arrays, parameters = drawn(2, 200), [np.linspace(0.5, 1.0, 4)[:, None, None], np.linspace(0.1, 0.2, 200)]
    assert few(sizes_of(*arrays))
    sides = [sided(door, lambda s, i, j, a, b: s * a - np.sqrt(abs(i - j)) * b, arrays, parameters, **OPTIONS[name])
             for door in (definitions, kernels)]
    assert len(sides[0]) == 7
    for want, got in zip(*sides, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("shape", [(2, 4, 70, 90), (70, 90)], ids=["per pair", "shared by heads"])
def test_the_gradient_of_a_number_per_pair_is_right_for_any_number_of_threads(shape, monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)
    found = []
    for door, count in ((definitions, 1), (kernels, 1), (kernels, 3)):
        with kernels.threads(count):
            found.append(sided(door, lambda s, i, j, a: s + a * s, drawn(70, 90), [RNG(1).standard_normal(shape)], causal=True))
    for want, one, three in zip(*found, strict=True):
        np.testing.assert_allclose(one, want, rtol=0, atol=1e-12 * np.abs(want).max())
        assert one.tobytes() == three.tobytes()


@pytest.mark.parametrize(("shape", "expected"), [((2, 4, 4, 5), (8, 1)), ((4, 5), (2, 2)), ((2, 1, 4, 5), (2, 2)), ((4, 1, 5), (8, 8)), ((), (8, 8))])
def test_tiles_that_may_run_at_once_add_to_one_copy_only_where_they_share_no_number(shape, expected):
    full, dtype = (2, 4, 4, 5), np.dtype(np.float64)
    rule = check_score(ScoreRule(lambda s, i, j, a: s + a * s, np.ones(shape)), full, dtype)
    assert tiles.compiled_rule(rule, full, dtype).copies(8) == expected


@pytest.mark.parametrize(("shape", "most"), [((1, 4, 512, 512), 7), ((512, 512), 12)], ids=["per pair", "shared by heads"])
def test_a_number_per_pair_is_not_copied_for_every_task(shape, most):
    arrays, parameter = [x[:1].astype(np.float32) for x in drawn(512, 512)], RNG(1).standard_normal(shape).astype(np.float32)

    def run():
        out, pull = vjp(lambda p: kernels.attention(*arrays, score=ScoreRule(lambda s, i, j, a: s + a, p)), parameter)
        return pull(out)

    run()
    assert peak_of(run)[0] < most * parameter.nbytes


def test_a_rule_is_traced_once_per_call():
    calls = []

    def rule(s, i, j):
        calls.append(s)
        return s - abs(i - j) * 0.1

    x = np.ones((2, 64, 32), np.float32)
    tinyattn.attention(x, x, x, score=rule)
    assert len(calls) == 1
