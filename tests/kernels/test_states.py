"""What the kernel of states must keep beside agreeing with its definitions: cuts, single tokens, ends of decays, tokens that are not finite."""

import os
import platform
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tests.kernels.slopes import close, slopes
from tinyattn import definitions, kernels, vjp
from tinyattn.kernels.states import primitive
from tinyattn.kernels.states.primitive import states
from tinyattn.kernels.states.reading_primitive import reading_states

RNG = np.random.default_rng
# "steep": channels that fade too far within a chunk to divide by.
KINDS = ("added", "scalar", "channel", "steep", "corrected", "both")
# Kinds of which each token also reads the state: along two vectors, along its key, and as the delta rule with a decay per channel.
READING = ("read", "tied", "per channel")
EDGES = (0, 1, 63, 64, 65, 127, 129)


def drawn(kind, kv_len, q_len=None, dtype=np.float64, heads=4, seed=0):
    """Arguments of the primitive by name: 2 kv heads, keys of length 1, strengths up to 2."""
    rng, q_len = RNG(seed), kv_len if q_len is None else q_len
    q, k, v = (rng.standard_normal((2, h, n, d)) for h, n, d in ((heads, q_len, 5), (2, kv_len, 5), (2, kv_len, 3)))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    channels = kind in ("channel", "steep", *READING)
    decay = -rng.random((2, 2, kv_len, 5) if channels else (2, 2, kv_len)) * (3 if kind == "steep" else 1)
    given = {"q": q, "k": k, "v": v, "state": rng.standard_normal((2, 2, 5, 3))}
    if kind not in ("added", "corrected"):
        given["log_decay"] = decay
    if kind in ("corrected", "both", "per channel"):
        given["beta"] = 2 * rng.random((2, 2, kv_len))
    if kind in ("read", "tied"):
        given["read"] = 0.5 * rng.standard_normal((2, 2, kv_len, 5))
    if kind == "read":
        given["write"] = 0.5 * rng.standard_normal((2, 2, kv_len, 5))
    return {name: x.astype(dtype) for name, x in given.items()}


def kernel(p):
    if "read" in p or ("beta" in p and p.get("log_decay", p["beta"]).ndim == p["k"].ndim):
        return reading_states(p["q"], p["k"], p["v"], p["log_decay"], p.get("read"), p.get("write"), p.get("beta"), p["state"], 0.7)
    return states(p["q"], p["k"], p["v"], p.get("log_decay"), p.get("beta"), p["state"], 0.7)


def definition(p):
    """The recurrence that the kernel computes, token by token."""
    q, k, v, options = p["q"], p["k"], p["v"], {"scale": 0.7, "initial_state": p["state"], "return_state": True}
    decay = p.get("log_decay", np.zeros(k.shape[:-1], k.dtype))
    if "read" in p:
        return definitions.generalized_delta_rule_recurrent(q, k, v, log_decay=decay, read=p["read"], write=p.get("write", k), **options)
    if "beta" in p:
        form = definitions.kimi_delta_attention_recurrent if decay.ndim == k.ndim else definitions.gated_delta_rule_recurrent
        return form(q, k, v, beta=p["beta"], log_decay=decay, **options)
    form = definitions.gated_linear_attention_recurrent if decay.ndim == k.ndim else definitions.simple_gated_linear_attention_recurrent
    return form(q, k, v, log_decay=decay, **options)


@pytest.mark.parametrize("kv_len", EDGES)
@pytest.mark.parametrize("kind", KINDS)
def test_around_the_edges_of_chunks_all_gradients_are_the_recurrences(kind, kv_len):
    for q_len in sorted({kv_len // 2, kv_len}):
        p = drawn(kind, kv_len, q_len)
        close(slopes(kernel, p), slopes(definition, p))


@pytest.mark.parametrize("kind", KINDS + READING)
def test_in_float32_the_errors_are_those_of_float32(kind):
    p = drawn(kind, 129, 70, np.float32)
    close(slopes(kernel, p), slopes(definition, {name: x.astype(np.float64) for name, x in p.items()}), np.float32)


def part(p, start, stop, state):
    """Arguments for some of the tokens, after a state."""
    return {name: x if name == "state" else x[:, :, start:stop] for name, x in {**p, "state": state}.items()}


@pytest.mark.parametrize("cut", [0, 1, 9, 64, 100, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_can_be_handed_over_at_any_cut(kind, cut):
    p = drawn(kind, 130)
    out, last = kernel(p)
    first, state = kernel(part(p, 0, cut, p["state"]))
    second, end = kernel(part(p, cut, 130, state))
    close((np.concatenate((first, second), axis=-2), end), (out, last))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_token_of_wide_values_is_folded_as_the_recurrence_does(dtype):
    q, k = RNG(0).standard_normal((2, 3, 2, 5)).astype(dtype)
    v, state = (RNG(1).standard_normal((3, n, 301)).astype(dtype) for n in (2, 5))  # several micro tiles at once, one by one, and a rest
    options = {"log_decay": np.full(3, -0.5, dtype), "initial_state": state, "return_state": True}
    close(kernels.retention(q, k, v, **options), definitions.retention_recurrent(q, k, v, **options), dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_step_after_step_is_the_chunk(kind):
    p = drawn(kind, 70)
    state, outs = p["state"], []
    for t in range(70):
        out, state = kernel(part(p, t, t + 1, state))
        outs.append(out)
    close((np.concatenate(outs, axis=-2), state), kernel(p))


@pytest.mark.parametrize("clears", [-np.inf, -1e30, -1000.0])
@pytest.mark.parametrize("kind", ["scalar", "channel", "both", *READING])
def test_a_decay_of_0_begins_anew_and_has_no_slope(kind, clears):
    p = drawn(kind, 130)
    p["log_decay"][:, :, 70] = clears
    if "read" in p:  # a token reads before the state decays
        p["read"][:, :, 70] = 0
    out, last = kernel(p)
    close((out[:, :, 70:], last), kernel(part(p, 70, 130, np.zeros_like(p["state"]))))
    got = slopes(kernel, p)
    close(got, slopes(definition, p))
    np.testing.assert_array_equal(got[2 + list(p).index("log_decay")][:, :, 70], 0)


@pytest.mark.parametrize("kind", ["scalar", "channel", "both", *READING])
def test_strong_decays_and_resets_in_float32(kind):
    p = drawn(kind, 512, dtype=np.float32)
    p["log_decay"] *= 10
    p["log_decay"][:, :, ::33] = -1000
    truth = slopes(definition, {name: x.astype(np.float64) for name, x in p.items()})
    for a, b in zip(slopes(kernel, p), truth, strict=True):
        assert np.abs(a - b).max() <= 1e-6 * np.abs(b).max()


@pytest.mark.parametrize("name", ["q", "k", "v", "beta"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS + READING)
def test_what_is_not_finite_changes_no_earlier_row(kind, bad, name):
    p = drawn(kind, 130)
    out, _ = kernel(p)
    if name in p:
        p[name] = p[name].copy()
        p[name][:, :, 69] = bad
    poisoned, last = kernel(p)
    close((poisoned[:, :, :69],), (out[:, :, :69],))
    assert np.isfinite(poisoned[:, :, 69]).all() == (name not in p)
    assert np.isfinite(last).all() == (name not in p or name == "q")


def test_strengths_of_2_keep_the_state_bounded_and_larger_ones_are_the_formulas():
    p = drawn("corrected", 500)
    p["beta"][:] = 2.0
    close(kernel(p), definition(p))
    short = drawn("corrected", 60)
    short["beta"][:] = 2.5
    got, want = kernel(short), definition(short)
    np.testing.assert_allclose(got[1], want[1], rtol=0, atol=1e-9 * np.abs(want[1]).max())


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_the_same_for_any_number_of_threads_and_read_in_place(kind, monkeypatch):
    monkeypatch.setattr(sys.modules["tinyattn.kernels.tiles.threads"], "LEAST_WORK", 1)  # the package's attribute is the function
    p = drawn(kind, 200, 150, np.float32, heads=6)

    def bits(number, arrays):
        with kernels.threads(number):
            return [x.tobytes() for x in slopes(kernel, arrays)]

    first = bits(1, p)
    assert first == bits(2, p) == bits(3, p)
    turned = {name: np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for name, x in p.items()}
    for x in turned.values():
        x.flags.writeable = False
    assert bits(2, turned) == first


def test_few_tokens_are_taken_one_by_one(monkeypatch):
    called = []
    monkeypatch.setattr(primitive, "run", lambda f, *arguments, run=primitive.run: (called.append(f), run(f, *arguments)))
    kernel(drawn("both", primitive.FEW))
    kernel(drawn("both", primitive.FEW + 1))
    kernel(drawn("channel", 20))
    assert called == [primitive.step, primitive.forward, primitive.channel_forward]


LENGTH = 1 << 15
LONG = {"simple_gated_linear_attention": ("log_decay", (1, LENGTH)), "gated_linear_attention": ("log_decay", (1, LENGTH, 64)),
        "delta_rule": ("beta", (1, LENGTH)), "linear_attention": (None, None)}


@pytest.mark.parametrize("name", LONG)
def test_a_long_text_takes_what_comes_and_goes_and_at_most_twice_the_values(name):
    rng, (gate, shape) = RNG(0), LONG[name]
    given = {part: rng.standard_normal((1, LENGTH, 64), np.float32) / 8 for part in ("q", "k", "v")}
    if shape is not None:
        given[gate] = rng.random(shape, np.float32) * np.float32(-1 if gate == "log_decay" else 1)
    mechanism = partial(getattr(kernels, name), **{} if shape else {"causal": True})

    def both(t):
        out, pull = vjp(lambda x: mechanism(**x), t)
        return out, pull(out)

    both({n: x[:, :100] for n, x in given.items()})
    peak, (out, slope) = peak_of(lambda: both(given))
    # vjp keeps a copy of what it is given, and returns copies of the gradients.
    arrays = sum(x.nbytes for x in given.values()) + out.nbytes + 2 * sum(x.nbytes for x in slope.values())
    assert peak < arrays + 2 * out.nbytes, f"{(peak - arrays) / out.nbytes:.2f} times the size of v"


def check_all(dtype, kinds):
    """Compares the kernels with the recurrences, token by token and in chunks, and runs them on a token that is not finite."""
    for kind in kinds:
        for kv_len, q_len in ((3, 2), (66, 40)):
            p = drawn(kind, kv_len, q_len, dtype, heads=2)
            close(slopes(kernel, p), slopes(definition, {name: x.astype(np.float64) for name, x in p.items()}), dtype)
            p["v"][:, :, -2] = np.nan
            kernel(p)


def run(call, **environment):
    """Runs checks in another process."""
    code = f"import sys; sys.path[:0] = ['tests/kernels']; import numpy as np, test_linear_states, test_states as t; {call}"
    made = subprocess.run([sys.executable, "-W", "error", "-c", code], env={**os.environ, **environment}, capture_output=True,
                          text=True, check=False)
    assert made.returncode == 0, made.stderr


def test_uncompiled_the_kernels_are_the_same():
    run("t.check_all(np.float64, t.KINDS + t.READING); test_linear_states.check_all(np.float64)", NUMBA_DISABLE_JIT="1")


@pytest.mark.machine
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize("call", [
    "t.check_all(np.float32, ('added', 'scalar', 'corrected', 'both')); test_linear_states.check_all(np.float32)",
    "t.check_all(np.float32, ('channel', 'steep', *t.READING))"], ids=["shared", "per channel"])
def test_with_registers_of_16_bytes_and_bounds_checked(call, tmp_path):
    # Compiled without optimisation, which takes half as long and changes neither the width of registers nor what is checked.
    run(call, NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="+sse2,-avx", NUMBA_BOUNDSCHECK="1", NUMBA_OPT="0",
        NUMBA_CACHE_DIR=str(tmp_path))
