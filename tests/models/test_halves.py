"""The gradient of a batch by halves is that of the whole batch, for any number of threads."""

import threading
import time

import numpy as np
import pytest

from tinyattn import kernels
from tinyattn.engine import value_and_grad
from tinyattn.engine.tree import leaves, map_tree
from tinyattn.kernels.steps.beside import beside
from tinyattn.models import halves
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, loss

RNG = np.random.default_rng
CONFIG = DecoderConfig(width=64, layers=1, heads=2, kv_heads=1, hidden=96, context=32)


def problem(rows, dtype):
    decoder, tokens = Decoder.create(CONFIG, RNG(0), deviation=0.12).astype(dtype), RNG(1).integers(0, 256, (rows, 33))
    return decoder, tokens[:, :-1], tokens[:, 1:]


@pytest.mark.parametrize("rows", [1, 2, 5, 16])
def test_halves_give_the_gradient_of_the_whole(rows, monkeypatch):
    monkeypatch.setattr(halves, "LEAST", 0)
    given = problem(rows, np.float64)
    (value, slopes), (want, wanted) = halves.by_halves(loss)(*given), value_and_grad(loss)(*given)
    assert value == pytest.approx(want, rel=1e-13)
    for got, one in zip(leaves(slopes), leaves(wanted), strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_allclose(got, one, rtol=0, atol=1e-13 * np.abs(one).max())
        else:
            assert got is one


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_number_of_threads_changes_no_bit(dtype, monkeypatch):
    monkeypatch.setattr(halves, "LEAST", 0)
    given, found = problem(6, dtype), []
    for count in (1, 2, 5):
        with kernels.threads(count):
            value, slopes = halves.by_halves(loss)(*given)
        found.append((np.asarray(value).tobytes(), *(leaf.tobytes() for leaf in leaves(slopes) if isinstance(leaf, np.ndarray))))
        assert {leaf.dtype for leaf in leaves(slopes) if isinstance(leaf, np.ndarray)} == {np.dtype(dtype)}
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("least", "calls"), [(0, 2), (1 << 60, 1)])
def test_only_large_batches_are_halved(least, calls, monkeypatch):
    monkeypatch.setattr(halves, "LEAST", least)
    seen = []

    def counted(w, x):
        seen.append(len(x))
        return (w["p"] * x).mean()

    value, slopes = halves.by_halves(counted)({"p": np.ones(1), "n": 3}, np.arange(3.0))
    assert (value, slopes["p"].item(), slopes["n"], len(seen)) == (1.0, pytest.approx(1.0), 3, calls)


def test_both_run_at_once_and_share_the_threads():
    meeting = threading.Barrier(2, timeout=20)

    def met(name):
        meeting.wait()
        return name, kernels.tiles.threads.thread_count()

    with kernels.threads(4):
        assert beside(lambda: met("one"), lambda: met("other")) == (("one", 2), ("other", 2))


@pytest.mark.parametrize("count", [1, 2])
def test_what_fails_in_one_is_raised_when_the_other_has_ended(count):
    done = []

    def late():
        time.sleep(0.05)
        done.append("late")

    def fails():
        raise FloatingPointError("no")

    with kernels.threads(count):
        with pytest.raises(FloatingPointError):
            beside(fails, late)
        assert done == ["late"] * (count == 2)
        with pytest.raises(FloatingPointError):
            beside(late, fails)
    assert done[-1] == "late"


def test_a_model_of_bfloat16_has_means_of_it(monkeypatch):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    monkeypatch.setattr(halves, "LEAST", 0)
    given = problem(2, bfloat16)
    slopes, wanted = (made(*given)[1] for made in (halves.by_halves(loss), value_and_grad(loss)))
    for got, one in zip(leaves(map_tree(np.asarray, slopes)), leaves(map_tree(np.asarray, wanted)), strict=True):
        if one.dtype == bfloat16:
            assert got.dtype == bfloat16
            assert np.abs(got.astype(np.float32) - one.astype(np.float32)).max() <= 2 ** -7 * np.abs(one.astype(np.float32)).max()
