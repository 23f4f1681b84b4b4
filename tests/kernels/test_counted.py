"""Contextual positions in tiles: the definition's results and slopes, whatever the queries count, on whatever machine."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tinyattn import definitions, kernels, vjp
from tinyattn.ops import masks

RNG = np.random.default_rng
Q_LEN, KV_LEN = 150, 170
MASK = RNG(5).random((4, Q_LEN, KV_LEN)) < 0.8
SINKS = np.linspace(-1.0, 1.0, 4)
OPTIONS = {"causal": {}, "mask": {"mask": MASK, "sinks": SINKS}, "mask of keys": {"mask": MASK[0, :1], "softcap": 2.0},
           "pattern": {"mask": masks.strided(3), "window": (90, None)}, "all keys": {"causal": False}, "window": {"window": (None, 0), "causal": False},
           "sinks": {"sinks": SINKS}, "no scale": {"scale": 0.0, "sinks": SINKS}}
# The last one is more than any query can count, the ones before fill whole tiles of positions or nearly.
POSITIONS = [1, 2, 5, 63, 64, 400]
NEAR = {np.float64: 1e-10, np.float32: 3e-3}


def drawn(positions, dtype=np.float64, size=1.0):
    """Returns q, k, v and an embedding; with a large size gates are nearly 0 or 1, and the counts of queries are far apart."""
    tree = [RNG(n).standard_normal((2, heads, length, 16)) for n, (heads, length) in enumerate(((4, Q_LEN), (2, KV_LEN), (2, KV_LEN)))]
    tree[0][..., 0] += size * np.linspace(-1.0, 1.0, Q_LEN)
    tree[1][..., 0] += size
    return [x.astype(dtype) for x in (*tree, 0.3 * RNG(3).standard_normal((positions, 16)))]


def both(tree, options):
    """Returns (out, gradients) of the definition and of the kernel."""
    d_out, found = RNG(4).standard_normal(tree[0].shape).astype(tree[0].dtype), []
    for door in (definitions, kernels):
        out, pull = vjp(lambda t, door=door: door.contextual_position_attention(*t[:3], embedding=t[3], **options), tree)
        found.append((out, *pull(d_out)))
    return found


def check(name, positions, dtype=np.float64, size=1.0):
    """Raises AssertionError unless results and slopes are the definition's."""
    options = {n: x.astype(dtype) if n == "sinks" else x for n, x in OPTIONS[name].items()}
    for want, got in zip(*both(drawn(positions, dtype, size), options), strict=True):
        # One position is a bias that changes no weight: the slopes of its embedding are rounding alone.
        np.testing.assert_allclose(got, want, rtol=0, atol=NEAR[dtype] * max(1.0, np.abs(want).max()))


def check_all(dtype):
    """Raises AssertionError unless all options are right; called in processes with other settings of Numba."""
    for name in OPTIONS:
        check(name, 64, dtype)
    check("mask of keys", 400, dtype, 4.0)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", OPTIONS)
def test_results_and_slopes_are_those_of_the_definition(name, positions):
    check(name, positions)


@pytest.mark.parametrize("positions", [40, 400])
def test_queries_whose_counts_are_far_apart(positions):
    check("causal", positions, size=8.0)


def test_single_precision_takes_the_same_steps():
    check("mask", 400, np.float32)


def test_later_keys_reach_no_query():
    q, k, v = (RNG(n).standard_normal((1, 150, 16)) for n in range(3))
    want = kernels.contextual_position_attention(q, k, v, embedding=q[0, :9])
    k[:, 64:], v[:, 64:] = np.nan, np.inf
    np.testing.assert_array_equal(kernels.contextual_position_attention(q, k, v, embedding=q[0, :9])[:, :64], want[:, :64])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("positions", [5, 400])
def test_a_key_that_is_not_finite_shows_in_the_rows_that_see_it(positions, bad):
    q, k, v, embedding = drawn(positions)
    before = kernels.contextual_position_attention(q, k, v, embedding=embedding)
    k[0, 1, 100, 2] = bad
    with np.errstate(all="ignore"):
        want = definitions.contextual_position_attention(q, k, v, embedding=embedding)
    got = kernels.contextual_position_attention(q, k, v, embedding=embedding)
    sees = np.zeros(got.shape, bool)
    sees[0, 2:, 100 - KV_LEN + Q_LEN :] = True
    np.testing.assert_array_equal(got[~sees], before[~sees])
    np.testing.assert_allclose(got[sees], want[sees], rtol=0, atol=1e-10)
    assert np.isnan(got[sees]).any()


@pytest.mark.parametrize("positions", [150, 151, 200])
def test_a_query_may_count_every_key_that_it_sees(positions):
    x, embedding = np.full((1, 150, 16), 10.0), np.arange(float(positions))[:, None] * np.ones(16) * 1e-3
    v = RNG(0).standard_normal((1, 150, 16))
    want = definitions.contextual_position_attention(x, x, v, embedding=embedding)
    np.testing.assert_allclose(kernels.contextual_position_attention(x, x, v, embedding=embedding), want, rtol=0, atol=1e-12)


def test_any_number_of_threads_gives_the_same_bits():
    x, found = RNG(0).standard_normal((2, 8, 600, 16), np.float32), []
    for number in (1, 2, 5):
        with kernels.threads(number):
            out, pull = vjp(lambda t: kernels.contextual_position_attention(*t[:3], embedding=t[3]), (x, x, x, x[0, 0]))
            found.append((out, *pull(x)))
    for other in found[1:]:
        for want, got in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(got, want)


def test_four_times_the_tokens_and_positions_take_at_most_four_times_the_memory():
    peaks = []
    for length in (1024, 1024, 4096):  # the first call compiles
        q = RNG(0).standard_normal((2, length, 16), np.float32)

        def call(q=q):
            out, pull = vjp(lambda t: kernels.contextual_position_attention(*t[:3], embedding=t[3]), (q, q, q, q[0]))
            return pull(out)

        peaks.append(peak_of(call)[0])
    assert peaks[2] <= 4.1 * peaks[1], f"{peaks[1]} and {peaks[2]} bytes"


def run(call, **settings):
    """Runs checks of this file in a process with other settings of Numba."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nimport numpy as np, test_counted as t\n{call}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={**os.environ, **settings})
    assert done.returncode == 0, done.stderr


def test_uncompiled_the_kernel_is_the_same():
    run("t.check('mask', 64); t.check('mask of keys', 400, size=4.0)", NUMBA_DISABLE_JIT="1")


@pytest.mark.machine
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_registers_of_16_bytes_and_bounds_checked(dtype, tmp_path):
    run(f"t.check_all(np.{dtype})", NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="+sse2,-avx", NUMBA_BOUNDSCHECK="1", NUMBA_OPT="0",
        NUMBA_CACHE_DIR=str(tmp_path))
