"""Talking heads in tiles: what is held between two turns over the keys and what is made again are alike, for any number of threads."""

import sys

import numpy as np
import pytest

from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.rows import mixtures
from tinyattn.kernels.softmax import row_blocks
from tinyattn.ops import masks

RNG = np.random.default_rng


def arguments(q_len, kv_len, heads, kv_heads, dtype=np.float64):
    rng = RNG(q_len)
    shapes = {"q": (2, heads, q_len, 6), "k": (2, kv_heads, kv_len, 6), "v": (2, kv_heads, kv_len, 5), "before": (heads, heads),
              "after": (heads, heads)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def slopes(f, arrays, options):
    out, pull = vjp(lambda t: f(**t, **options), arrays)
    return [out, *pull(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)).values()]


OPTIONS = {"causal": {"causal": True}, "window": {"window": (70, 3), "softcap": 1.5}, "mask": {"mask": RNG(0).random((9, 1, 200)) < 0.6},
           "bias": {"bias": RNG(1).standard_normal((9, 150, 200)), "causal": True, "sinks": np.array([0.5, -np.inf, *range(-3, 4)])}}


@pytest.mark.parametrize("room", [0, 1, 9])
@pytest.mark.parametrize(("tile_bytes", "tiles"), [(1, 4), (1 << 20, 2)], ids=["64 keys", "192 keys"])
@pytest.mark.parametrize("name", OPTIONS)
def test_tiles_that_are_made_again_give_the_same(name, tile_bytes, tiles, room, monkeypatch):
    arrays, ran = arguments(150, 200, 9, 3), []
    options = OPTIONS[name]
    want = slopes(definitions.talking_heads_attention, arrays, options)
    monkeypatch.setattr(row_blocks, "blocks", None)
    monkeypatch.setattr(mixtures, "TILE_BYTES", tile_bytes)
    monkeypatch.setattr(mixtures, "room_of", lambda *given, f=mixtures.room_of: ran.append(f(*given)) or (room, f(*given)[1]))
    got = slopes(kernels.talking_heads_attention, arrays, options)
    assert {held for held, _ in ran} == {tiles}  # of 200 keys
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_the_gradient_of_sinks():
    arrays = arguments(40, 70, 4, 4) | {"sinks": np.array([0.5, -np.inf, 2.0, 0.0])}
    got, want = (slopes(door.talking_heads_attention, arrays, {"causal": True}) for door in (kernels, definitions))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_any_number_of_threads_gives_the_same_bits():
    arrays, every = arguments(300, 300, 8, 8, np.float32), []
    for number in (1, 2, 3):
        with kernels.threads(number):
            every.append(slopes(kernels.talking_heads_attention, arrays, {"causal": True}))
    for other in every[1:]:
        for a, b in zip(other, every[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", [{"mask": masks.strided(3)}, {"bias": RNG(0).standard_normal((30, 30))}], ids=["pattern", "learned bias"])
def test_what_the_kernels_do_not_take_goes_by_rows(options, monkeypatch):
    arrays = arguments(30, 30, 4, 2)
    arrays |= {"bias": options["bias"]} if "bias" in options else {}
    given = {"mask": options["mask"]} if "mask" in options else {"causal": True}
    want = slopes(definitions.talking_heads_attention, arrays, given)
    monkeypatch.setattr(mixtures, "run", None)
    monkeypatch.setattr(row_blocks, "PART_BYTES", 1)
    for a, b in zip(slopes(kernels.talking_heads_attention, arrays, given), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("of_a_split", "splits"), [(1024, 2), (50, 4)])
def test_copies_of_gradients_are_as_many_as_the_queries_are_worth(of_a_split, splits, monkeypatch):
    arrays = {name: x[:1] if x.ndim == 4 else x for name, x in arguments(300, 300, 3, 3).items()}
    copies, run = [], mixtures.run
    monkeypatch.setattr(mixtures, "SPLIT", of_a_split)
    monkeypatch.setattr(mixtures, "run", lambda kernel, tasks, *rest: copies.append(tasks) or run(kernel, tasks, *rest))
    got = slopes(kernels.talking_heads_attention, arrays, {"causal": True})
    assert copies == [5, splits]
    for a, b in zip(got, slopes(definitions.talking_heads_attention, arrays, {"causal": True}), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("held", [mixtures.HELD_BYTES, mixtures.HELD_BYTES_BACK])
def test_a_task_holds_no_more_for_long_texts(held):
    shapes = [np.empty((1, 8, length, 64), np.float32) for length in (2048, 1 << 20)]
    sizes = [mixtures.long_tiles(mixtures.sizes_of(x, x, x), x.dtype) for x in shapes]
    rooms = [mixtures.room_of(one, np.dtype(np.float32), held)[0] for one in sizes]
    assert rooms[0] == 2048 // sizes[0].kv_tile
    assert rooms[1] * 8 * sizes[1].kv_tile * 64 * 4 <= held


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("heads", [1, 7, 8, 9, 64])
def test_the_tiles_of_all_heads_have_as_much_room_as_is_said(heads, dtype):
    x = np.empty((1, heads, 4096, 64), dtype)
    keys = mixtures.long_tiles(mixtures.sizes_of(x, x, x), x.dtype).kv_tile
    assert keys % 64 == 0
    assert keys == 64 or (keys <= 512 and heads * keys * 64 * x.itemsize <= 1 << 20)
    few = mixtures.long_tiles(mixtures.sizes_of(x, x[:, :, :70], x[:, :, :70]), x.dtype).kv_tile
    assert few <= 128


def test_every_thread_that_starts_has_room_of_its_own(monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)  # the package's attribute is the function
    run, rooms = mixtures.run, {}

    def spy(kernel, tasks, work, taken, held, *rest):
        begun = []
        run(lambda *_: begun.append(1), tasks, work, taken, held, *rest)
        rooms[len(begun)] = held.size

    monkeypatch.setattr(mixtures, "run", spy)
    q = np.ones((2, 400, 16), np.float32)
    for number in (1, 3):
        with kernels.threads(number):
            kernels.talking_heads_attention(q, q, q, before=np.eye(2, dtype=q.dtype), after=np.eye(2, dtype=q.dtype))
    assert rooms == {1: rooms[1], 3: 3 * rooms[1]}
