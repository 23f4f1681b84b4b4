"""Bad inputs: one clear error on every rank, whatever one of them was given; what fails later ends all ranks at once."""

import time

import numpy as np
import pytest

from tinyattn import definitions
from tinyattn.engine import grad
from tinyattn.ops import masks
from tinyattn.parallel import (
    Layout,
    contiguous,
    head_parallel_attention,
    recurrent,
    recurrent_in_turn,
    ring_attention,
    threads,
    tree_attention,
    zigzag,
)

LAYOUT = contiguous(6, 3)
X = np.random.default_rng(0).standard_normal((1, 2, 6, 4)).astype(np.float32)
SCHEMES = [ring_attention, head_parallel_attention, tree_attention]


def everywhere(program, ranks=3):
    """Returns the error of each rank as (type, message)."""
    def caught(comm):
        try:
            program(comm)
        except (TypeError, ValueError) as error:
            return type(error), str(error)
        return None

    return threads.run(ranks, caught)


def called(scheme, comm, *, only=None, layout=LAYOUT, change=lambda x: x, **options):
    """Calls a scheme with this rank's tokens; one rank alone, or all, have changed arguments."""
    rank = comm.Get_rank()
    here = only is None or rank == only
    x = LAYOUT.take(X, rank)
    return scheme(x, change(x) if here else x, x, comm, layout if here else LAYOUT, **(options if here else {}))


CASES = {
    "another dtype": ({"change": lambda x: x.astype(np.float64)}, TypeError, "k: expected the dtype of q"),
    "a shard too short": ({"change": lambda x: x[..., :1, :]}, ValueError, "got shape"),
    "a list": ({"change": lambda x: x.tolist()}, TypeError, "k: expected a float16"),
    "a layout over other ranks": ({"layout": contiguous(6, 2)}, ValueError, "expected one over the 3 ranks of the communicator, got one over 2"),
    "no layout": ({"layout": "zigzag"}, TypeError, "layout: expected a Layout"),
    "a boolean mask": ({"mask": np.ones((6, 6), bool)}, TypeError, "mask: expected a Pattern"),
    "a bias": ({"bias": np.ones((6, 6))}, TypeError, "unexpected option 'bias'"),
    "a window that is a number": ({"window": 3}, TypeError, "window"),
    "a cap of 0": ({"softcap": 0.0}, ValueError, "softcap"),
    "sinks of another number of heads": ({"sinks": np.ones(3, np.float32)}, ValueError, "sinks: expected shape"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", CASES)
def test_what_one_rank_or_all_are_given_wrongly_is_one_error_on_every_rank(scheme, name):
    options, kind, said = CASES[name]
    for only in (None, 1):
        errors = everywhere(lambda comm: called(scheme, comm, only=only, **options))
        assert {error[0] for error in errors} == {kind}, errors
        assert len({error[1] for error in errors}) == 1
        assert said in errors[0][1]
        assert ("rank 1: " in errors[0][1]) == (only == 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_differs_between_ranks_is_named(scheme):
    differ = {"scale": {"scale": 2.0}, "causal and window": {"causal": True}, "mask": {"mask": masks.first(2)}, "layout": {"layout": zigzag(6, 3)}}
    for fact, options in differ.items():
        errors = everywhere(lambda comm: called(scheme, comm, only=2, **options))
        assert [error[0] for error in errors] == [ValueError] * 3
        assert f"{fact}: expected the same on all ranks, got " in errors[0][1] and "on rank 2" in errors[1][1]


def test_a_half_differentiated_call_is_refused_before_it_can_hang():
    def program(comm):
        x = LAYOUT.take(X, comm.Get_rank())
        if comm.Get_rank():
            return ring_attention(x, x, x, comm, LAYOUT)
        return grad(lambda q: ring_attention(q, x, x, comm, LAYOUT).sum())(x)

    errors = everywhere(program)
    assert all("arguments with gradients" in error[1] for error in errors)


def test_different_calls_on_the_ranks_are_named():
    errors = everywhere(lambda comm: called((ring_attention, head_parallel_attention)[comm.Get_rank() % 2], comm))
    assert all("expected the same call on all ranks" in error[1] for error in errors)


def test_a_mask_by_head_is_left_to_the_ring():
    mask = masks.per_head([masks.causal(), masks.first(1)])
    errors = everywhere(lambda comm: called(head_parallel_attention, comm, mask=mask))
    assert all("ring_attention takes one for each head" in error[1] for error in errors)
    parts = threads.run(3, lambda comm: called(ring_attention, comm, mask=mask))
    np.testing.assert_allclose(LAYOUT.put(parts), definitions.attention(X, X, X, mask=mask), atol=1e-6)


@pytest.mark.parametrize("comm", [None, "world", 3])
def test_what_is_no_communicator_is_refused(comm):
    for scheme in SCHEMES:
        with pytest.raises(TypeError, match="comm: expected a communicator"):
            scheme(X, X, X, comm, contiguous(6, 1))


@pytest.mark.parametrize("scheme", SCHEMES[:2])
def test_a_second_derivative_is_refused_by_name(scheme):
    def program(comm):
        f = lambda q: scheme(q, X, X, comm, contiguous(6, 1)).sum()
        return grad(lambda q: (grad(f)(q) ** 2).sum())(X)

    with pytest.raises(TypeError, match=f"{scheme.__name__} has a first derivative only"):
        threads.run(1, program)


@pytest.mark.parametrize("scheme", [recurrent, recurrent_in_turn])
def test_states_refuse_on_every_rank(scheme):
    def program(comm, only=0, **changes):
        rank = comm.Get_rank()
        x = LAYOUT.take(X, rank)
        given = {"run": definitions.delta_rule_recurrent, "gates": {"beta": np.ones(x.shape[:-1], np.float32)}, "initial_state": None}
        given |= changes if rank == only else {}
        return scheme(given["run"], x, x, x, given["gates"], given["initial_state"], comm, LAYOUT)

    for changes, said in (({"run": "delta"}, "run: expected a mechanism"), ({"gates": {"beta": np.ones((1, 2, 5))}}, "beta: expected the 2 tokens"),
                          ({"gates": 3}, "gates: expected a dict"), ({"initial_state": np.ones((1, 2, 4, 3), np.float32)}, "initial_state: expected shape"),
                          ({"run": definitions.linear_attention_chunked, "gates": {}},
                           "give it normalize=False" if scheme is recurrent else "gates: expected the same on all ranks")):
        errors = everywhere(lambda comm: program(comm, **changes))
        assert all(said in error[1] for error in errors), errors


def test_a_second_derivative_of_states_handed_on_is_refused_by_name():
    layout = contiguous(6, 2)

    def program(comm):
        x = layout.take(X, comm.Get_rank())
        f = lambda v: recurrent_in_turn(definitions.delta_rule_chunked, x, x, v, {"beta": x[..., 0]}, None, comm, layout).sum()
        return grad(lambda v: (grad(f)(v * v) ** 2).sum())(x)

    with pytest.raises(TypeError, match="recurrent_in_turn has a first derivative only"):
        threads.run(2, program)


def test_an_initial_state_that_is_differentiated_on_one_rank_alone_is_refused():
    layout, start = contiguous(6, 2), np.ones((1, 2, 4, 4), np.float32)

    def program(comm):
        x = layout.take(X, comm.Get_rank())
        f = lambda s: recurrent_in_turn(definitions.delta_rule_chunked, x, x, x, {"beta": x[..., 0]}, s, comm, layout).sum()
        return f(start) if comm.Get_rank() else grad(f)(start)

    errors = everywhere(program, 2)
    assert all("initial_state with gradients" in error[1] for error in errors)


@pytest.mark.parametrize(("spans", "said"), [
    ((((0, 3),), ((2, 6),)), "token 2 is on two ranks"), ((((0, 2),), ((3, 6),)), "token 2 is on no rank"),
    ((((0, 3),), ((3, 5),)), "token 5 is on no rank"), ((((3, 6), (0, 3)), ()), "expected ascending spans"),
    ((((0, 7),), ()), "expected start <= stop <= 6"), ((((4, 2),), ()), "expected start <= stop")])
def test_a_layout_holds_every_token_once(spans, said):
    with pytest.raises(ValueError, match=said):
        Layout(6, spans)


def test_layouts_refuse_other_sizes():
    for make in (contiguous, zigzag):
        for length, ranks, kind in ((-1, 2, ValueError), (4, 0, ValueError), (2.0, 1, TypeError), (4, None, TypeError)):
            with pytest.raises(kind):
                make(length, ranks)
    with pytest.raises(ValueError, match="expected 6 tokens"):
        LAYOUT.take(np.zeros((5, 4)), 0)
    with pytest.raises(ValueError, match="rank: expected 0 to 2, got 3"):
        LAYOUT.take(X, 3)
    with pytest.raises(ValueError, match="one array per rank"):
        LAYOUT.put([X])


def test_layouts_of_any_size_take_and_put():
    for make in (contiguous, zigzag):
        for length in (0, 1, 2, 5, 16, 103):
            for ranks in (1, 2, 3, 5, 8):
                layout, x = make(length, ranks), np.arange(length * 2).reshape(length, 2)
                parts = [layout.take(x, rank) for rank in range(ranks)]
                assert layout.put(parts).tolist() == x.tolist()
                assert [len(part) for part in parts] == [layout.count(rank) for rank in range(ranks)]
                assert sorted(np.concatenate([layout.positions(rank) for rank in range(ranks)]).tolist()) == list(range(length))
                assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_zigzag_balances_the_pairs_of_causal_attention():
    for length, ranks in ((1000, 4), (4096, 8), (999, 3)):
        pairs = [zigzag(length, ranks).pairs(rank, right=0) for rank in range(ranks)]
        assert sum(pairs) == length * (length + 1) // 2
        assert max(pairs) / (sum(pairs) / ranks) <= 1.01
        contiguous_pairs = [contiguous(length, ranks).pairs(rank, right=0) for rank in range(ranks)]
        np.testing.assert_allclose(sum(pairs) / ranks / max(contiguous_pairs), ranks / (2 * ranks - 1), rtol=0.01)


def test_a_failure_after_the_first_collective_ends_all_ranks(capsys, monkeypatch):
    from tinyattn.parallel import ring
    sound = ring.attend

    def failing(q, k, v, seen, rule):
        if q.flat[0] == X[0, 0, 2, 0]:  # rank 1
            raise MemoryError("no room")
        return sound(q, k, v, seen, rule)

    monkeypatch.setattr(ring, "attend", failing)
    started = time.monotonic()
    with pytest.raises(MemoryError, match="no room"):
        threads.run(3, lambda comm: called(ring_attention, comm))
    assert time.monotonic() - started < 5  # and not the minute after which a thread that waits gives up
    assert capsys.readouterr().err == "ring_attention: rank 1: MemoryError: no room; all ranks end\n"
