"""The keys above a threshold in tiles: many and few of them, options, NaN, and calls that the kernels leave to blocks of rows."""

import sys

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.rows import roots, thresholds
from tinyattn.kernels.softmax import entmax as mechanism
from tinyattn.kernels.softmax import row_blocks
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.ops import masks

RNG = np.random.default_rng


def arguments(size, q_len=150, kv_len=200, dtype=np.float64):
    rng = RNG(q_len)
    return [(rng.standard_normal((2, heads, length, width)) * factor).astype(dtype)
            for heads, length, width, factor in ((4, q_len, 6, size), (2, kv_len, 6, size), (2, kv_len, 5, 1.0))]


def slopes(door, arrays, **options):
    """Returns the output and the gradients of q, k and v."""
    out, pull = vjp(lambda t: door.entmax_attention(*t, **options), arrays)
    return [out, *pull(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype))]


def agree(arrays, **options):
    for a, b in zip(slopes(kernels, arrays, **options), slopes(definitions, arrays, **options), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


MASK = RNG(0).random((2, 4, 150, 200)) < 0.6
MASK[:, :, 5] = False
OPTIONS = {"whole": {}, "causal": {"causal": True}, "window": {"window": (70, 3)}, "mask": {"mask": MASK},
           "bias": {"bias": RNG(1).standard_normal((4, 150, 200)), "causal": True, "mask": MASK[0, :1]}}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("size", [0.1, 1.0, 6.0])  # of 200 keys, nearly all, some and hardly any have a weight
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_many_and_few_keys_above_the_threshold(alpha, size, option, monkeypatch):
    monkeypatch.setattr(row_blocks, "blocks", None)
    agree(arguments(size), alpha=alpha, **OPTIONS[option])


@pytest.mark.parametrize(("q_len", "kv_len"), [(1, 1), (3, 64), (65, 7), (300, 513)])
def test_lengths(q_len, kv_len):
    for alpha in (1.5, 2.0):
        agree(arguments(2.0, q_len, kv_len), alpha=alpha)


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_levels_of_columns_sum_to_one(alpha):
    with np.errstate(all="ignore"):  # as in a kernel, whatever is compiled
        check_levels(alpha == 1.5)


@compiled
def levelled(x, starts, keys, width, least, square, eps, level, total, slope, exact, exact_slope, moves):
    """Fills the levels."""
    roots.find_levels(x, starts, keys, width, least, square, eps, level, total, slope, exact, exact_slope, moves)


def check_levels(square):
    width, rows = 64, 40
    for dtype in (np.float32, np.float64):
        x = -np.abs(RNG(0).standard_normal((2, rows, width))) * np.geomspace(1e-4, 1e4, width)
        x[0, 0] = 0
        x[1, 5:, 3] = -np.inf
        x[..., 7], x[1, 2, 9] = -np.inf, np.nan
        level, total, slope = (np.empty(width, dtype) for _ in range(3))
        least = dtype(1 / (2 * rows))
        levelled(x.astype(dtype).reshape(-1), np.array([0, rows * width]), np.array([rows, rows]), width, np.sqrt(least) if square else least, square,
                 float(np.finfo(dtype).eps), level, total, slope, np.empty(width), np.empty(width), np.empty(width))
        root = np.maximum(x.astype(dtype).reshape(-1, width) + level, 0)
        sums = (root ** 2 if square else root).sum(axis=0, dtype=np.float64)
        assert np.isnan(level[9]) and sums[7] == 0
        np.testing.assert_allclose(np.delete(sums, [7, 9]), 1, rtol=50 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"alpha": 2.0}, {"alpha": 1.5, "softcap": 5.0}, {"alpha": 1.2}, {"alpha": 3.0}], ids=str)
def test_later_tokens_change_no_bit_of_earlier_rows(options, dtype):
    rng, cut = RNG(0), 200
    for size in (0.3, 1.0, 4.0):  # tiles of which products and single keys are added, by the tokens before and after the cut
        q, k, v = ((rng.standard_normal((2, 300, 16)) * factor).astype(dtype) for factor in (size, 1, 1))
        before = kernels.entmax_attention(q, k, v, causal=True, **options)
        for factor in (1e-3, 30.0):
            later = [np.concatenate((x[:, :cut], x[:, cut:] * dtype(factor)), axis=1) for x in (q, k, v)]
            np.testing.assert_array_equal(kernels.entmax_attention(*later, causal=True, **options)[:, :cut], before[:, :cut])


@pytest.mark.parametrize("alpha", [1.5, 2.0])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_an_odd_key_reaches_the_rows_that_see_it_and_no_other(odd, alpha):
    q, k, v = arguments(1.0)
    far = k.copy()
    far[:, :, 150:] = odd
    mask = np.ones((150, 200), np.bool_)
    mask[:40, 150:] = False
    got = kernels.entmax_attention(q, far, v, alpha=alpha, mask=mask)
    # The score of an infinite key is -inf, and its weight 0, for a query below 0 throughout; inf, or inf - inf, for all others.
    lost = np.zeros(q.shape[:-1], np.bool_)
    lost[:, :, 40:] = np.isnan(odd) | ~(q[:, :, 40:] < 0).all(axis=-1)
    assert np.isnan(odd) or 0 < lost[:, :, 40:].mean() < 1
    assert np.isnan(got[lost]).all()
    mask[:, 150:] = False
    want = kernels.entmax_attention(q, k, v, alpha=alpha, mask=mask)
    np.testing.assert_allclose(got[~lost], want[~lost], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("options", [{"mask": masks.strided(3)}, {"softcap": 1.5}, {"alpha": 1.7}, {}], ids=["pattern", "cap", "alpha", "long"])
def test_what_the_kernels_do_not_take_goes_by_rows(options, monkeypatch):
    monkeypatch.setattr(thresholds, "run", None)
    monkeypatch.setattr(row_blocks, "PART_BYTES", 1)
    if not options:
        monkeypatch.setattr(thresholds, "HELD_BYTES", 3 * 64 * 64 * 8)  # 200 keys are four tiles
    agree(arguments(1.0), **options)


def test_every_thread_that_starts_has_room_of_its_own(monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)  # the package's attribute is the function
    run, rooms = thresholds.run, {}

    def spy(kernel, tasks, work, taken, held, room, *rest):
        begun = []
        run(lambda *_: begun.append(1), tasks, work, taken, held, room, *rest)
        rooms[len(begun)] = held.size, room * 64 * 64

    monkeypatch.setattr(thresholds, "run", spy)
    x = np.ones((2, 400, 16), np.float32)
    for number in (1, 3):
        with kernels.threads(number):
            out, pull = vjp(lambda t: mechanism.entmax_attention(*t), (x, x, x))
            forward = rooms.pop(number)
            pull(out)
        assert forward == (number * forward[1], forward[1])
        assert rooms.pop(number) == (2 * number * forward[1], forward[1])


def test_a_thread_writes_only_into_the_room_of_its_own(monkeypatch):
    run, written = thresholds.run, []

    def spy(kernel, tasks, work, taken, held, room, *rest):
        both, taken[0] = np.concatenate((held, held)), 1  # as the second of two threads
        run(kernel, tasks, work, taken, both, room, *rest)
        written.append((both[: held.size].any(), both[held.size :].any()))

    monkeypatch.setattr(thresholds, "run", spy)
    with kernels.threads(1):
        slopes(kernels, arguments(1.0))
    assert written == [(False, True)] * 2
