"""Lightning attention, RWKV-6 and mLSTM at their ends: no tokens, shut gates, decays of 0, tokens that are not finite, bad gates."""

from functools import partial

import numpy as np
import pytest

import tinyattn
from tinyattn import definitions, grad, kernels
from tinyattn.caches import StateCache
from tinyattn.catalog.state_calls import CONVOLUTION, minimax_slopes
from tinyattn.laws.budget import growing, sufficient
from tinyattn.laws.law import plain
from tinyattn.laws.problem import Problem
from tinyattn.testing.compare import explain

NAMES = ("lightning_attention", "rwkv6", "mlstm")
FORMS = [(name, form) for name in NAMES for form in ("recurrent", "chunked", "kernel")]
INF = np.inf


def drawn(name, length, dtype=np.float64):
    """Queries of four heads, keys and values of two, and the gates of a mechanism."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((heads, length, width)).astype(dtype) for heads, width in ((4, 3), (2, 3), (2, 5)))
    gates = {"lightning_attention": {"slopes": rng.random(2)}, "rwkv6": {"log_decay": -rng.random((2, length, 3)), "bonus": rng.standard_normal((2, 3))},
             "mlstm": {"input_gate": 2 * rng.standard_normal((2, length)), "forget_gate": 2 + rng.standard_normal((2, length))}}[name]
    return q, k, v, {gate: x.astype(dtype) for gate, x in gates.items()}


def form_of(name, form):
    return getattr(kernels, name) if form == "kernel" else getattr(definitions, f"{name}_{form}")


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_no_token_one_token_and_half_precision(name, form):
    f, (q, k, v, gates) = form_of(name, form), drawn(name, 1)
    empty = {gate: x if gate in ("slopes", "bonus") else x[:, :0] for gate, x in gates.items()}
    out, state = f(q[:, :0], k[:, :0], v[:, :0], **empty, return_state=True)
    parts = state if name == "mlstm" else (state,)
    assert (out.shape, [part.shape for part in parts]) == ((4, 0, 5), [(2, 3, 5), (2, 3), (2,)][: len(parts)])
    assert not parts[0].any()
    if name == "mlstm":
        assert (parts[2] == -INF).all()
    scores = np.sum(q * np.repeat(k, 2, axis=0), axis=-1, keepdims=True)
    if name == "rwkv6":
        scores = np.sum(q * np.repeat(k * gates["bonus"][:, None], 2, axis=0), axis=-1, keepdims=True)
    if name == "mlstm":
        scores = scores * np.repeat(np.exp(gates["input_gate"]), 2, axis=0)[..., None]
        scores = scores / np.maximum(np.abs(scores), 1)
    np.testing.assert_allclose(f(q, k, v, **gates), scores * np.repeat(v, 2, axis=0), rtol=1e-13)
    half, last = f(*(x.astype(np.float16) for x in (q, k, v)), **gates, return_state=True)
    assert half.dtype == np.float16
    assert {part.dtype for part in (last if name == "mlstm" else (last,))} == {np.dtype(np.float32)}


@pytest.mark.parametrize("form", ["recurrent", "chunked", "kernel"])
def test_gates_at_their_ends(form):
    f, (q, k, v, gates) = form_of("mlstm", form), drawn("mlstm", 90)
    # Nothing is written at first; then a gate clears the memory, a token outweighs all others, and another is nothing to them.
    gates["input_gate"][:, :3], gates["forget_gate"][:, 40] = -INF, -INF
    gates["input_gate"][:, 50], gates["input_gate"][:, 60], gates["forget_gate"][:, 70] = 900.0, -900.0, INF
    out, (state, total, largest) = f(q, k, v, **gates, return_state=True)
    np.testing.assert_array_equal(out[:, :3], 0)
    anew = {gate: x[:, 40:] for gate, x in gates.items()}
    later, last = f(q[:, 40:], k[:, 40:], v[:, 40:], **anew, return_state=True)
    np.testing.assert_allclose(out[:, 40:], later, rtol=1e-9, atol=1e-12)
    for part, want in zip((state, total, largest), last, strict=True):
        np.testing.assert_allclose(part, want, rtol=1e-9, atol=1e-12)
    sign = np.sign(np.sum(q[:, 50] * np.repeat(k[:, 50], 2, axis=0), axis=-1, keepdims=True))
    np.testing.assert_allclose(out[:, 50], sign * np.repeat(v[:, 50], 2, axis=0), rtol=1e-9)
    slopes = grad(lambda t: np.sum(np.sin(f(t["q"], t["k"], t["v"], input_gate=t["input_gate"], forget_gate=t["forget_gate"]))))(
        {"q": q, "k": k, "v": v, **gates})
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    tiny = {**gates, "input_gate": np.full_like(gates["input_gate"], -900.0)}  # exp(900) is beyond float64
    np.testing.assert_allclose(f(q, k, v, **tiny), 0, atol=1e-290)
    slope = grad(lambda gate: np.sum(f(q, k, v, **{**tiny, "input_gate": gate})))(tiny["input_gate"])
    np.testing.assert_allclose(slope, 0, atol=1e-290)


def test_a_long_memory_keeps_the_digits_of_its_definition():
    q, k, v, gates = drawn("mlstm", 700, np.float32)
    gates["forget_gate"] += 4
    got, problem = (kernels.mlstm(q, k, v, **gates),), Problem(q, k, v, gates)
    explain(sufficient(growing((plain,), definitions.mlstm, problem, np.random.default_rng(0), reorder=False), got), got)


@pytest.mark.parametrize("name", ["linear_attention", "cosformer", "mlstm"])
def test_a_query_that_reads_one_token_alone_gains_nothing(name):
    q, k, v, gates = drawn("mlstm", 40, np.float32)
    gates["input_gate"] += 8  # above the bound of the divisor
    options = {"linear_attention": {"causal": True}, "cosformer": {"causal": True, "max_length": 40}, "mlstm": gates}[name]
    slope = grad(lambda x: np.sum(np.sin(getattr(kernels, name)(x, k, v, **options))))(q)
    # The mean of one value is that value: in float32 too, however small its weight is.
    np.testing.assert_array_less(abs(slope[:, 0]), 1e-12)
    assert np.abs(slope[:, 2:]).max() > 1e-3


@pytest.mark.parametrize("form", ["recurrent", "chunked", "kernel"])
def test_a_decay_of_0_leaves_only_what_is_written_after(form):
    f, (q, k, v, gates) = form_of("rwkv6", form), drawn("rwkv6", 90)
    gates["log_decay"][:, 40] = -INF
    out = f(q, k, v, **gates)
    later = f(q[:, 40:], k[:, 40:], v[:, 40:], log_decay=gates["log_decay"][:, 40:], bonus=gates["bonus"])
    np.testing.assert_allclose(out[:, 41:], later[:, 1:], rtol=1e-12, atol=1e-13)
    assert np.abs(out[:, 40] - later[:, 0]).max() > 0.1  # the query of that token still reads what was there
    slope = grad(lambda x: np.sum(np.sin(f(q, k, v, log_decay=x, bonus=gates["bonus"]))))(gates["log_decay"])
    np.testing.assert_array_equal(slope[:, 40], 0)
    assert np.isfinite(slope).all()
    shared = gates["log_decay"][..., :1]
    np.testing.assert_allclose(f(q, k, v, log_decay=shared, bonus=gates["bonus"]),
                               f(q, k, v, log_decay=shared + np.zeros_like(k), bonus=gates["bonus"]), rtol=1e-11, atol=1e-12)
    _, steady, given, gates = drawn("lightning_attention", 90)
    clears = form_of("lightning_attention", form)(steady, steady, given, slopes=np.array([0.0, INF]))
    np.testing.assert_allclose(clears[1], np.sum(steady[1] ** 2, axis=-1, keepdims=True) * given[1], rtol=1e-12)


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["q", "k", "v"])
def test_what_is_not_finite_changes_no_earlier_row(name, form, which):
    f, (q, k, v, gates) = form_of(name, form), drawn(name, 90)
    clean, arrays = f(q, k, v, **gates), [q.copy(), k.copy(), v.copy()]
    arrays[which][:, 75, 2] = np.nan
    out = f(*arrays, **gates)
    np.testing.assert_allclose(out[:, :75], clean[:, :75], rtol=1e-9, atol=1e-12)
    assert np.isnan(out[:, 75]).any()


BAD = [("lightning_attention", "slopes", np.array([0.1, -0.1]), "at least 0"), ("lightning_attention", "slopes", np.array([np.nan, 0.1]), "NaN"),
       ("lightning_attention", "slopes", np.ones(4), r"\(2,\), got \(4,\)"), ("rwkv6", "log_decay", np.full((2, 6, 3), 0.1), "at most 0"),
       ("rwkv6", "bonus", np.ones((4, 3)), r"\(2, 3\), got \(4, 3\)"), ("rwkv6", "bonus", np.full((2, 3), INF), "finite"),
       ("rwkv6", "log_decay", np.zeros((2, 6)), "got"), ("mlstm", "input_gate", np.full((2, 6), INF), "below"), ("mlstm", "input_gate", np.full((2, 6), np.nan), "NaN"),
       ("mlstm", "forget_gate", np.full((2, 6), np.nan), "NaN"), ("mlstm", "forget_gate", np.zeros((4, 6)), r"\(2, 6\), got \(4, 6\)"),
       ("mlstm", "initial_state", (np.zeros((2, 3, 5)), np.zeros((2, 3)), np.zeros((2, 1))), r"maximum.*\(2,\), got \(2, 1\)"),
       ("mlstm", "initial_state", (np.zeros((2, 3, 5)), np.zeros((2, 3)), np.full(2, np.nan)), "maximum.*NaN")]


@pytest.mark.parametrize(("name", "gate", "value", "words"), BAD)
def test_gates_that_do_not_fit_are_refused_by_name_in_every_form(name, gate, value, words):
    q, k, v, gates = drawn(name, 6)
    for form in ("recurrent", "chunked", "kernel"):
        with pytest.raises(ValueError, match=f"^{gate}.*{words}"):
            form_of(name, form)(q, k, v, **{**gates, gate: value})
        with pytest.raises(TypeError, match=f"^{gate}: expected"):
            form_of(name, form)(q, k, v, **{**gates, gate: 1})


@pytest.mark.parametrize("length", [8, 70])
@pytest.mark.parametrize("name", NAMES)
def test_a_cache_truncates_saves_and_goes_on(name, length, tmp_path):
    q, k, v, gates = (x[None] if isinstance(x, np.ndarray) else x for x in drawn(name, length))
    fixed = {gate: x for gate, x in gates.items() if gate in ("slopes", "bonus")}
    tokens = {gate: x[None] for gate, x in gates.items() if gate not in fixed}
    mechanism = partial(getattr(tinyattn, name), **fixed)
    want, cache = mechanism(q, k, v, **tokens), StateCache(mechanism, slack=4)

    def step(cache, start, stop):
        return cache.step(q[:, :, start:stop], k[:, :, start:stop], v[:, :, start:stop], **{gate: x[:, :, start:stop] for gate, x in tokens.items()})

    outs = [step(cache, 0, length - 2)]
    step(cache, 0, 2)
    cache.truncate(length - 2)
    cache.save(tmp_path / "state")
    outs.append(step(StateCache.load(tmp_path / "state", mechanism=mechanism), length - 2, length))
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), want, rtol=1e-9, atol=1e-11)
    last = StateCache(mechanism)
    step(last, 0, length)
    if name == "rwkv6":
        with pytest.raises(ValueError, match="attend: what rwkv6 reads at a token is not in the state after it"):
            last.attend(q[:, :, -1:])
    else:
        np.testing.assert_allclose(last.attend(q[:, :, -1:]), want[:, :, -1:], rtol=1e-9, atol=1e-11)


def test_a_convolution_does_not_answer_again():
    cache = StateCache(CONVOLUTION)
    cache.step(np.ones((1, 4, 2, 5)), np.ones((1, 2, 2, 5)), np.ones((1, 2, 2, 5)), weight=np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match="attend: "):
        cache.attend(np.ones((1, 4, 1, 5)), weight=np.ones((2, 5, 3)))


def test_slopes_of_minimax_are_no_powers_of_alibi():
    np.testing.assert_allclose(minimax_slopes(3), 2.0 ** np.array([-8 / 3, -16 / 3, -8]), rtol=2e-5)


@pytest.mark.parametrize("length", [3, 70])
@pytest.mark.parametrize("tied", [False, True])
def test_the_last_memory_of_mlstm_gives_its_gradients_to_all_that_it_came_from(length, tied):
    q, k, v, gates = drawn("mlstm", length)
    gates = {"input_gate": np.zeros((2, length)), "forget_gate": np.full((2, length), INF)} if tied else gates
    rng = np.random.default_rng(length)
    before = (rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3)), np.zeros(2))
    weights = [rng.standard_normal(shape) for shape in ((*q.shape[:-1], 5), *(x.shape for x in before))]

    def slopes(door):
        def loss(given):
            q, k, v, wrote, kept, state = given
            gates = {"input_gate": wrote, "forget_gate": kept}
            out, last = door.mlstm(q, k, v, **gates, initial_state=state, return_state=True)
            return sum(np.sum(x * weight) for x, weight in zip((out, *last), weights, strict=True))

        *found, state = grad(loss)((q, k, v, gates["input_gate"], gates["forget_gate"], before))
        return [*found, *state]

    for got, want in zip(slopes(kernels), slopes(definitions), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)
