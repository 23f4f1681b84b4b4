"""Large arrays are taken head by head: the same bits, and less memory."""

import tracemalloc

import numpy as np
import pytest

from tinyattn import kernels, vjp
from tinyattn.kernels.states import heads
from tinyattn.kernels.states.reading_primitive import reading_states

GATES = {"kimi_delta_attention": ("log_decay", "beta"), "generalized_delta_rule": ("log_decay", "read", "write"),
         "rwkv7": ("log_decay", "removal", "rate")}


def drawn(name, length=70):
    """Queries of two heads for each of the keys, gates of either sign where they may have it, and a state."""
    rng = np.random.default_rng(length)
    q, k, v = (rng.standard_normal((2, count, length, 16), np.float32) for count in (8, 4, 4))
    made = {"log_decay": -abs(k), "beta": abs(v[..., 0]) / 4, "read": k / 8, "write": v / 8, "removal": v / 8, "rate": abs(k)}
    return {"q": q, "k": k / 4, "v": v, "initial_state": k[..., :16, :]} | {gate: made[gate] for gate in GATES[name]}


def solved(name, given):
    out, pull = vjp(lambda t: getattr(kernels, name)(**t, return_state=True), given)
    return [*out, *pull(out).values()]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", GATES)
def test_a_head_by_itself_has_the_same_bits(name, threads, monkeypatch):
    given = drawn(name)
    wanted = solved(name, given)
    monkeypatch.setattr(heads, "LARGE", 0)
    monkeypatch.setattr("tinyattn.kernels.tiles.threads.LEAST_SIZE", 0)
    with kernels.threads(threads):
        for got, want in zip(solved(name, given), wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_head_by_itself_takes_less_memory(monkeypatch):
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 4, 512, 16), np.float32)
    given, peaks = (q, k, v, -abs(k), k / 8, v / 8, None, k[..., :16, :], 1.0), []
    for large in (1 << 30, 0):
        monkeypatch.setattr(heads, "LARGE", large)
        with kernels.threads(1):
            (out, last), saved = reading_states.computed(given, {})
            reading_states.pulled((out, last), saved)  # what is compiled does not count
            tracemalloc.start()
            try:
                reading_states.pulled((out, last), saved)
                peaks.append(tracemalloc.get_traced_memory()[1] - 6 * q.nbytes)  # without the gradients themselves
            finally:
                tracemalloc.stop()
    assert peaks[1] < 0.6 * peaks[0], f"{peaks[1]} and {peaks[0]} bytes"
