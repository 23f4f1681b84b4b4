"""Every option runs in the kernels: no definition, no BLAS behind the door; and without Numba there is no door."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyattn import definitions, kernels
from tinyattn.engine import Tensor, grad, vjp
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles.jit import MECHANISMS
from tinyattn.ops import alibi, masks, relative

RNG = np.random.default_rng
PRODUCTS = {"matmul", "dot", "einsum", "tensordot", "inner", "vdot", "vecdot", "matvec", "vecmat", "linalg"}
TABLE = RNG(0).standard_normal((3, 4))


def made(name, q_len, kv_len):
    rng, dense = RNG(1), (2, 4, q_len, kv_len)
    return {"plain": {}, "causal": {"causal": True}, "window": {"window": (kv_len - 9, None)}, "scale": {"scale": -0.3}, "softcap": {"softcap": 2.0},
            "mask": {"mask": rng.random(dense) < 0.5}, "bias": {"bias": rng.standard_normal(dense)},
            "sinks": {"sinks": rng.standard_normal(4)}, "alibi": {"bias": alibi(np.linspace(0.1, 0.4, 4))},
            "relative": {"bias": relative(TABLE, lambda d: np.clip(d, -1, 1) + 1)},
            "pattern": {"mask": masks.strided(3)}, "padding": {"mask": masks.padding(np.array([kv_len // 2, kv_len]))},
            "per head": {"mask": masks.per_head([masks.causal(), masks.window(3, 3), masks.first(4), ~masks.causal()])},
            "composed": {"mask": masks.window(20, 3) | masks.global_tokens([2]), "bias": rng.standard_normal((4, 1, kv_len)), "causal": True,
                         "softcap": 3.0, "sinks": rng.standard_normal(4), "scale": 0.5}}[name]


@pytest.mark.parametrize(("q_len", "kv_len", "forward"), [(40, 70, exact.forward), (1, 140, exact.decode)], ids=["tiles", "decoding"])
@pytest.mark.parametrize("name", ["plain", "causal", "window", "scale", "softcap", "mask", "bias", "sinks", "alibi", "relative", "pattern",
                                  "padding", "per head", "composed"])
def test_every_option_runs_in_the_kernels(name, q_len, kv_len, forward, monkeypatch):
    rng, options = RNG(2), made(name, q_len, kv_len)
    q, k, v = (rng.standard_normal((2, heads, n, 64)) for heads, n in ((4, q_len), (2, kv_len), (2, kv_len)))
    array = {n: x for n, x in options.items() if isinstance(x, np.ndarray) and n != "mask"}
    tree = {"q": q, "k": k, "v": v, **array}

    def call(tree, f):
        return f(tree["q"], tree["k"], tree["v"], **options | {n: tree[n] for n in array})

    want, pull = vjp(lambda t: call(t, definitions.attention), tree)
    d_out = rng.standard_normal(want.shape)
    slopes = pull(d_out)

    def forbidden(*args, **options):
        raise AssertionError("called")

    for product in PRODUCTS - {"linalg"}:
        monkeypatch.setattr(np, product, forbidden, raising=False)
    for mechanism in definitions.__all__:
        monkeypatch.setattr(definitions, mechanism, forbidden)
    ran = []
    monkeypatch.setattr(exact, "run", lambda kernel, *rest, run=exact.run: (ran.append(kernel), run(kernel, *rest)))
    got, pull = vjp(lambda t: call(t, kernels.attention), tree)
    assert ran == [forward]
    got_slopes = pull(d_out)
    assert ran[-1] is exact.backward
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
    for n, slope in slopes.items():
        np.testing.assert_allclose(got_slopes[n], slope, rtol=1e-10, atol=1e-11, err_msg=n)


FILES = sorted(Path(kernels.__file__).parent.glob("*/*.py"))


def aside(tree):
    """Returns the functions of a file that never compute a result or a first derivative while kernels are compiled.

    Each is mentioned only in the decorator `again`, which names what second derivatives walk, or as what runs where the JIT is off.
    """
    def names(node):
        return [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]

    given = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "again":
            given += [name for argument in node.args for name in names(argument)]
        elif isinstance(node, ast.IfExp) and isinstance(node.test, ast.Name) and node.test.id == "DISABLED":
            given += names(node.body)
    mentioned = names(tree)
    return {name for name in given if given.count(name) == mentioned.count(name)}


def products_of(text):
    """Returns the lines of a source that multiply matrices by NumPy, but those in functions that are `aside`."""
    tree = ast.parse(text)
    allowed = aside(tree)
    left_out = {inner for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in allowed for inner in ast.walk(node)}
    return [node.lineno for node in ast.walk(tree) if node not in left_out and (
        (isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.MatMult))
        or (isinstance(node, ast.Attribute) and node.attr in PRODUCTS))]


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name not in MECHANISMS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_kernel_multiplies_matrices_by_numpy(path):
    assert not products_of(path.read_text())


@pytest.mark.parametrize(("source", "lines"), [
    ("def form(x, w):\n    return x @ w\n@again(form)\n@primitive\ndef f(x, w):\n    return kernel(x, w), x", []),
    ("def form(x, w):\n    return x @ w\n@again(form)\n@primitive\ndef f(x, w):\n    return form(x, w), x", [2]),
    ("def form(x, w):\n    return x * w\n@again(form)\n@primitive\ndef f(x, w):\n    return x @ w, x", [6]),
    ("def plain(x, w):\n    return x @ w\nf = plain if DISABLED else intrinsic(fast)", []),
    ("def plain(x, w):\n    return x @ w\nf = fast if DISABLED else plain", [2]),
    ("def plain(x, w):\n    return np.dot(x, w)", [2]), ("def f(x, w):\n    x @= w", [2])])
def test_a_product_is_left_out_where_no_kernel_takes_it(source, lines):
    assert products_of(source) == lines


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name in MECHANISMS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_folders_of_mechanisms_hold_nothing_that_is_compiled(path):
    # Their sources are left out of the hash by which compiled code is found again.
    names = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    assert not names & {"numba", "llvmlite", "tinyattn.kernels.tiles.jit"}


@pytest.mark.parametrize(("q_len", "kv_len"), [(37, 53), (2, 130)])
@pytest.mark.parametrize("ones", range(16))
def test_a_bias_broadcasts_over_any_axes(q_len, kv_len, ones):
    rng = RNG(ones)
    q, k, v = (rng.standard_normal((2, heads, n, 16)) for heads, n in ((4, q_len), (2, kv_len), (2, kv_len)))
    shape = tuple(1 if ones >> axis & 1 else size for axis, size in enumerate((2, 4, q_len, kv_len)))
    bias = rng.standard_normal(shape)
    for given in (bias, bias[0], bias[0, 0], bias[0, 0, 0]):
        sides = [grad(lambda b: np.sum(np.sin(f(q, k, v, bias=b, causal=True, window=(40, 0)))))(given)
                 for f in (definitions.attention, kernels.attention)]
        assert sides[1].shape == given.shape
        np.testing.assert_allclose(sides[1], sides[0], rtol=1e-10, atol=1e-12)


def test_equal_tiles_of_a_pattern_are_stored_once():
    q = np.zeros((1, 2, 1024, 16), np.float32)
    sizes = exact.sizes_of(q, q, q)
    told = exact.seen_of(masks.sliding_window(100), None, None, (1, 2, 1024, 1024), sizes)
    assert told.tiles.pairs.size == 3 * sizes.q_tile * sizes.kv_tile  # where the window begins, twice, and the diagonal
    row, columns = told.tiles.row, told.tiles.entries[::2]
    assert all((columns[row[r] : row[r + 1]] == np.arange(max(0, r - 2), r + 1)).all() for r in range(16))
    assert told.tiles.band.reshape(-1, 2).tolist() == [[-63, 0], [-35, 63], [29, 63]]


def test_a_predicate_is_not_asked_about_tiles_out_of_reach():
    asked = []

    def see(i, j):
        asked.append((i.max() - j.min(), j.max() - i.min()))
        return i - j >= -200

    q = np.zeros((1, 2, 512, 16), np.float32)
    told = exact.seen_of(masks.Pattern(see), 100, 0, (1, 2, 512, 512), exact.sizes_of(q, q, q))
    row, columns = told.tiles.row, told.tiles.entries[::2]
    assert all((columns[row[r] : row[r + 1]] == np.arange(max(0, r - 2), r + 1)).all() for r in range(8))
    assert max(far for far, _ in asked) < 100 + 2 * 64
    assert max(ahead for _, ahead in asked) < 64


@pytest.mark.parametrize("length", [64, 129, 200])
@pytest.mark.parametrize("alone", [None, 0, 63, 64, 128, 199])
def test_a_token_that_does_not_see_itself_is_found_in_the_list_of_tiles(length, alone):
    if alone is not None:
        length = max(length, alone + 1)
    q = np.zeros((1, 2, length, 16), np.float32)
    pattern = masks.per_head([masks.causal(), masks.Pattern(lambda i, j: (j <= i) & ~((i == alone) & (j == alone)))])
    sizes = exact.sizes_of(q, q, q)
    tiles = exact.seen_of(pattern, None, None, (1, 2, length, length), sizes).tiles
    assert exact.all_see_themselves(tiles, length, sizes) == (alone is None)


def test_on_tensors():
    x = RNG(3).standard_normal((2, 70, 16))
    t = Tensor(x)
    kernels.attention(t, t, t, causal=True).sum().backward()
    np.testing.assert_allclose(t.grad, grad(lambda y: definitions.attention(y, y, y, causal=True).sum())(x), rtol=1e-10, atol=1e-12)


def test_without_numba_the_kernels_say_so_and_the_rest_works():
    code = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
import numpy as np
import tinyattn
from tinyattn import definitions
x = np.random.default_rng(0).standard_normal((2, 300, 8))
t = tinyattn.Tensor(x)
out = tinyattn.attention(t, x, x, causal=True)
assert np.array_equal(out.value, definitions.attention(x, x, x, causal=True))
out.sum().backward()
long = np.zeros((1, 5000, 2), np.float32)
assert tinyattn.attention(long, long, long).shape == long.shape
try:
    tinyattn.kernels
except ImportError as error:
    assert "pip install 'numba>=0.61'" in str(error), error
else:
    raise AssertionError("kernels without Numba")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
