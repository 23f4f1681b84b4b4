"""PaTH in tiles, whose chunks of keys turn the queries of all later chunks: any lengths, widths, gates and threads."""

import sys

import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tests.kernels.slopes import close, slopes
from tinyattn import definitions, kernels
from tinyattn.ops.norm import unit

RNG = np.random.default_rng


def drawn(batch=1, heads=2, kv_heads=2, q_len=70, kv_len=70, dim=8, value_dim=5, dtype=np.float64):
    rng = RNG(q_len)
    normal = lambda *shape: rng.standard_normal(shape).astype(dtype)
    return {"q": 2 * normal(batch, heads, q_len, dim), "k": normal(batch, kv_heads, kv_len, dim), "v": normal(batch, kv_heads, kv_len, value_dim),
            "w": unit(normal(batch, kv_heads, kv_len, dim)), "beta": 2 * rng.random((batch, kv_heads, kv_len)).astype(dtype)}


def gates(heads, length):
    return -np.abs(RNG(length).standard_normal((1, heads, length))) / 5


def by(door):
    return lambda p: (door.path_attention(**p),)


@pytest.mark.parametrize("sizes", [
    {"q_len": 0, "kv_len": 5}, {"q_len": 1, "kv_len": 129}, {"q_len": 64, "kv_len": 64}, {"q_len": 65, "kv_len": 65, "dim": 40},
    {"batch": 2, "heads": 6, "kv_heads": 3, "q_len": 70, "kv_len": 140}, {"q_len": 10, "kv_len": 64}, {"q_len": 150, "kv_len": 200, "value_dim": 40},
    {"batch": 0}, {"heads": 0, "kv_heads": 0}], ids=str)
def test_any_sizes_give_the_definition_and_its_slopes(sizes):
    p = drawn(**sizes)
    close(slopes(by(kernels), p), slopes(by(definitions), p))


@pytest.mark.parametrize(("together", "most"), [(1, 256), (2, 256), (4, 1)])
def test_how_many_chunks_are_passed_at_once_is_invisible(together, most, monkeypatch):
    p = drawn(q_len=340, kv_len=400) | {"log_forget": gates(2, 400)}
    want = slopes(by(kernels), p)
    monkeypatch.setattr(sys.modules["tinyattn.kernels.rows.reflecting"], "TOGETHER", together)
    monkeypatch.setattr(sys.modules["tinyattn.kernels.rows.reflecting"], "MOST_STEPS", most)
    close(slopes(by(kernels), p), want)


def test_many_steps_of_several_chunks_give_the_definition():
    p = drawn(q_len=700, kv_len=710, heads=2, kv_heads=1)
    close(slopes(by(kernels), p), slopes(by(definitions), p))


@pytest.mark.parametrize("sizes", [{"q_len": 70, "kv_len": 400, "heads": 4}, {"q_len": 400, "kv_len": 400, "batch": 2}], ids=str)
def test_gates_give_the_definition_and_its_slopes(sizes):
    p = drawn(**sizes)
    p["log_forget"] = np.tile(gates(p["q"].shape[1], 400), (len(p["q"]), 1, 1))
    p["log_forget"][:, 0, [10, 100, 101, 300]] = -np.inf
    close(slopes(by(kernels), p), slopes(by(definitions), p))


def test_gates_that_sum_to_large_numbers_lose_no_digits():
    p = drawn(q_len=600, kv_len=600, heads=1, kv_heads=1, dtype=np.float32)
    p["log_forget"] = np.where(np.arange(600) % 50 == 7, -1e5, -0.01)[None, None]
    want = definitions.path_attention(**{n: x.astype(np.float64) for n, x in p.items()})
    np.testing.assert_allclose(kernels.path_attention(**p), want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("gated", [False, True])
def test_rows_give_the_same(gated, monkeypatch):
    p = drawn(batch=1, q_len=130, kv_len=150, heads=4, kv_heads=2) | ({"log_forget": gates(4, 150)} if gated else {})
    want = slopes(by(kernels), p)
    path = sys.modules["tinyattn.kernels.softmax.path"]
    monkeypatch.setattr(path.Reflections, "tiled", None)
    monkeypatch.setattr(path, "CHUNK", 16)
    close(slopes(by(kernels), p), want)


def test_scores_far_apart_meet_in_one_softmax():
    p = drawn(q_len=200, kv_len=200)
    p["k"] = p["k"] * np.linspace(6, 0, 200)[:, None]
    close(slopes(by(kernels), p), slopes(by(definitions), p))


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_a_token_that_is_not_finite_reaches_no_other_head(name):
    p = drawn(batch=2, q_len=100, kv_len=100)
    want = kernels.path_attention(**p)
    p[name][1, 0, 50] = np.nan
    got = kernels.path_attention(**p)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got[1, 1], want[1, 1], rtol=1e-12, atol=1e-12)
    assert np.isnan(got[1, 0, 50]).all()


def test_bits_are_the_same_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)
    p = drawn(q_len=200, kv_len=200, heads=4, kv_heads=2, dtype=np.float32)
    p["log_forget"] = gates(4, 200)
    with kernels.threads(1):
        want = slopes(by(kernels), p)
    with kernels.threads(3):
        for got, one in zip(slopes(by(kernels), p), want, strict=True):
            np.testing.assert_array_equal(got, one)


def test_memory_is_linear_in_the_length():
    peaks = []
    for length in (512, 512, 2048):  # the first call compiles
        p = drawn(q_len=length, kv_len=length, dim=16, value_dim=16, dtype=np.float32)
        with kernels.threads(1):
            peaks.append(peak_of(lambda p=p: kernels.path_attention(**p))[0])
    assert peaks[2] <= 4.1 * peaks[1], f"{peaks[1]} and {peaks[2]} bytes"
