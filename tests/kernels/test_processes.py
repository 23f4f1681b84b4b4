"""The kernels in other processes: a disk cache, no disk cache, no compiler, a fork."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinyattn.kernels.tiles.jit import cache_folder

FULL = ("import numpy as np; from tinyattn import kernels, vjp; from tinyattn.kernels.exact.forward import forward; "
        "from tinyattn.kernels.exact.backward import backward; x = np.ones((1, 8, 4)); "
        "assert vjp(lambda x: kernels.attention(x, x, x), x)[1](x).shape == (1, 8, 4); compiled = forward, backward; ")
STEP = ("import numpy as np; from tinyattn import kernels; from tinyattn.kernels.exact.decode import decode, join; "
        "x = np.ones((1, 256, 16)); assert kernels.attention(x[:, :1], x, x).shape == (1, 1, 16); compiled = decode, join; ")
# Where compiled code is kept is the same for all kernels: this one compiles in a tenth of the time of attention.
SMALL = ("import numpy as np; from tinyattn import vjp; from tinyattn.kernels.steps.embedding import add_rows, embedding; "
         "x = np.ones((4, 3)); assert vjp(lambda t: embedding(t, np.arange(4)), x)[1](x).shape == (4, 3); ")


def run(code, **environment):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={**os.environ, **environment})


def copy_compiled(names, folder):
    """Copies what earlier tests compiled of these kernels, so that it is not compiled again; an index before the files that it names."""
    there = cache_folder()
    to = folder / "tinyattn" / there.name
    to.mkdir(parents=True)
    for name in names:
        for path in sorted(there.glob(f"{name}.*"), key=lambda path: path.suffix != ".nbi"):
            shutil.copy(path, to)


@pytest.mark.parametrize("call", [FULL, STEP], ids=["full", "step"])
def test_a_second_process_reads_the_disk(call, tmp_path):
    copy_compiled(("forward", "backward", "decode"), tmp_path)
    first = run(call, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.returncode == 0, first.stderr
    kept = sorted(path.name for path in tmp_path.rglob("*.nb*"))
    assert kept
    code = call + """
for kernel in compiled:
    assert sum(kernel.stats.cache_hits.values()) == 1 and not kernel.stats.cache_misses, kernel
"""
    second = run(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert second.returncode == 0, second.stderr
    assert sorted(path.name for path in tmp_path.rglob("*.nb*")) == kept


def test_a_spoilt_index_is_compiled_again(tmp_path):
    first = run(SMALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.returncode == 0, first.stderr
    indexes = list(tmp_path.rglob("*.nbi"))
    assert indexes
    for path in indexes:
        path.write_bytes(b"")
    spoilt = run(SMALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert spoilt.returncode == 0, spoilt.stderr


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_no_writable_folder_compiles_in_memory(variable):
    environment = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    code = SMALL + "assert add_rows.stats.cache_misses or not add_rows.stats.cache_hits"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
                          env={**environment, variable: "/proc/nowhere"})
    assert done.returncode == 0, done.stderr


EXACT = """
import numpy as np
from tinyattn import definitions, kernels, vjp
from tinyattn.ops import masks
rng = np.random.default_rng(0)
for q_len, kv_len, d in ((3, 5, 4), (17, 9, 3), (1, 130, 16), (70, 70, 4)):
    q, k, v = (rng.standard_normal((2, n, d)) for n in (q_len, kv_len, kv_len))
    options = dict(causal=True, softcap=2.0, bias=rng.standard_normal((2, q_len, kv_len)), sinks=np.zeros(2))
    if q_len == 70:
        options = dict(causal=True, mask=masks.window(5, 2) | masks.first(3))
    sides = [vjp(lambda t: f(*t, **options), (q, k, v)) for f in (definitions.attention, kernels.attention)]
    np.testing.assert_allclose(sides[0][0], sides[1][0], rtol=1e-9, atol=1e-12)
    for a, b in zip(sides[0][1](q), sides[1][1](q)):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
"""
STORED = """
import numpy as np
from tinyattn import definitions
from tinyattn.kernels.exact import reading
from tinyattn.ops.quantize import quantize
rng = np.random.default_rng(0)
x = rng.standard_normal((1, 2, 32, 32))
want = definitions.attention(x[..., 30:, :], x, x, causal=True)
np.testing.assert_allclose(reading.attend_parts(x[..., 30:, :], [(x[..., 9:, :], x[..., 9:, :], 9), (x[..., :9, :], x[..., :9, :], 0)], 32), want)
pages = np.moveaxis(x.reshape(2, 8, 4, 32), 0, 1).copy()
np.testing.assert_allclose(reading.paged_attention(x[..., 30:, :], pages, pages, np.arange(8)[None], np.array([32])), want)
for bits, error in ((8, 0.02), (4, 0.3)):
    packed = [quantize(x[..., :16, :], bits=bits, group=16, axis=axis) for axis in (-2, -1)]
    got = reading.quantized_attention(x[..., 30:, :], *packed, x[..., 16:, :], x[..., 16:, :])
    assert 0 < np.abs(got - want).max() < error
"""


STEPS = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import numpy as np, test_chosen, test_steps, test_rows, test_top_k; " \
        "test_chosen.check_all(np.float64); test_top_k.check_all(np.float64); test_rows.check_all(np.float64); test_steps.check_all(np.float64)"


# The bounds of exact attention and of the steps are checked in test_ends.py, as they are compiled there anyway.
@pytest.mark.parametrize(("variable", "code"), [("NUMBA_DISABLE_JIT", EXACT), ("NUMBA_DISABLE_JIT", STORED), ("NUMBA_DISABLE_JIT", STEPS),
                                                ("NUMBA_BOUNDSCHECK", STORED)],
                         ids=["JIT off-exact", "JIT off-stored", "JIT off-steps", "bounds-stored"])
def test_uncompiled_and_with_bounds_checked(variable, code, tmp_path):
    # Compiled without optimisation, which takes half as long and does not change what is checked.
    done = run(code, **{variable: "1", "NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_a_fork_and_a_process_pool_after_a_first_call():
    code = """
import multiprocessing, os, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside threads
import numpy as np
from tinyattn import kernels
x = np.random.default_rng(0).standard_normal((8, 600, 16))
want = kernels.attention(x, x, x, causal=True)
def again(_):
    return np.array_equal(kernels.attention(x, x, x, causal=True), want)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map(again, range(4)))
assert again(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_fork_while_another_thread_differentiates():
    code = """
import os, threading, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside threads
import numpy as np
import tinyattn
x = np.random.default_rng(0).standard_normal((8, 600, 16))
def slope():
    return tinyattn.grad(lambda t: (tinyattn.attention(t, x, x, causal=True) ** 2).sum())(x)
want, stop = slope(), threading.Event()
def work():
    while not stop.is_set():
        slope()
worker = threading.Thread(target=work)
worker.start()
for _ in range(5):
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(slope(), want) else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
worker.join()
assert np.array_equal(slope(), want)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "TINYATTN_THREADS": "2"})
    assert done.returncode == 0, done.stderr
