"""Long texts are taken part by part: the same results, gradients and second derivatives as all at once."""

import numpy as np
import pytest

import tinyattn
from tinyattn import grad, kernels, vjp
from tinyattn.kernels.linear import parts
from tinyattn.kernels.states.replay import Tape
from tinyattn.laws.law import outputs

NAMES = ("kimi_delta_attention", "generalized_delta_rule", "rwkv7", "delta_product", "mesa", "performer")


def drawn(name, length=300, queries=300, heads=4, dtype=np.float64):
    """The arrays of a call on two heads of keys, with a gate of either sign where it may have one."""
    rng = np.random.default_rng(length)
    q, k, v = (rng.standard_normal((2, count, n, 4)).astype(dtype) / 4 for count, n in ((heads, queries), (2, length), (2, length)))
    decay, gate, channels = -abs(k[..., 0]), abs(k[..., 1]), -abs(v)
    steps = {"k": np.concatenate((k, v), axis=-2), "v": np.concatenate((v, k), axis=-2)}
    return {"q": q, "k": k, "v": v} | {
        "kimi_delta_attention": {"beta": gate, "log_decay": channels}, "generalized_delta_rule": {"log_decay": channels, "read": -k, "write": v},
        "rwkv7": {"log_decay": channels, "removal": k, "rate": abs(v)},
        "delta_product": steps | {"beta": abs(steps["v"][..., 0]), "log_decay": decay},
        "mesa": {"log_decay": decay, "beta": gate, "ridge": 1 + abs(k[0, :, 0])}, "performer": {"projection": rng.standard_normal((6, 4)).astype(dtype)}}[name]


def solved(name, given, door=kernels):
    """The results and the gradients, also through the last state, from a text that goes on from another."""
    fixed = {"steps": 2} if name == "delta_product" else {"causal": True} if name == "performer" else {}

    def call(tree):
        first = getattr(door, name)(**tree, **fixed, return_state=True)
        return first[0], [x for x in outputs(first[1]) if np.issubdtype(x.dtype, np.floating)]

    out, pull = vjp(call, given)
    return [out[0], *out[1], *pull(out).values()]


@pytest.mark.parametrize("queries", [300, 150, 3])
@pytest.mark.parametrize("name", NAMES)
def test_parts_give_what_the_whole_gives(name, queries, monkeypatch):
    given = drawn(name, queries=queries)
    wanted = solved(name, given)
    plain = getattr(kernels, name)(**given, **({"steps": 2} if name == "delta_product" else {"causal": True} if name == "performer" else {}))
    monkeypatch.setattr(parts, "LARGE", 0)
    monkeypatch.setattr(parts, "PART", 0)
    assert len([*parts.parts_of([given["q"], given["q"], given["q"]])]) == -(-queries // parts.LEAST)
    for got, want in zip(solved(name, given), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)
    again = getattr(kernels, name)(**given, **({"steps": 2} if name == "delta_product" else {"causal": True} if name == "performer" else {}))
    np.testing.assert_allclose(again, plain, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_derivative_of_parts_is_that_of_the_whole(name, monkeypatch):
    given = drawn(name, 70, 70, heads=2)
    fixed = {"steps": 2} if name == "delta_product" else {"causal": True} if name == "performer" else {}

    def second():
        def slope(q):
            return grad(lambda x: np.sum(np.sin(getattr(tinyattn, name)(**given | {"q": x}, **fixed))))(q)

        return grad(lambda q: np.sum(np.cos(slope(q))))(given["q"])

    wanted = second()
    monkeypatch.setattr(parts, "LARGE", 0)
    monkeypatch.setattr(parts, "PART", 0)
    np.testing.assert_allclose(second(), wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_the_same_bits_for_any_number_of_threads(name, monkeypatch):
    monkeypatch.setattr(parts, "LARGE", 0)
    monkeypatch.setattr(parts, "PART", 0)
    monkeypatch.setattr("tinyattn.kernels.tiles.threads.LEAST_WORK", 1)
    given, bits = drawn(name, dtype=np.float32), []
    for number in (1, 3):
        with kernels.threads(number):
            bits.append([x.tobytes() for x in solved(name, given)])
    assert bits[0] == bits[1]


def test_a_tape_gives_again_what_kernels_gave_and_computes_nothing(monkeypatch):
    from tinyattn.kernels.states import primitive

    q = np.ones((1, 2, 70, 4))
    given = (q, q, q, None, None, np.zeros((1, 2, 4, 4)), 1.0)
    tape = Tape(outs=True)
    with tape.written():
        out, last = primitive.states(*given)
    monkeypatch.setattr(primitive, "run", None)
    with tape.read():
        assert all(got is want for got, want in zip(primitive.states(*given), (out, last), strict=True))
