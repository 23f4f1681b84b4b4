"""A recurrence over ranks equals one process: rows, last states and gradients, by maps of states and by states handed on."""

import inspect
import types
from functools import partial

import numpy as np
import pytest
from sharded import drawn_layout

from tinyattn import definitions
from tinyattn.engine import vjp
from tinyattn.laws.budget import anywhere, growing, measure, sufficient
from tinyattn.laws.problem import Problem
from tinyattn.ops import taylor_features
from tinyattn.parallel import contiguous, recurrent, recurrent_in_turn, states, threads, zigzag

LINEAR = partial(definitions.linear_attention_chunked, causal=True)
SUMS = partial(LINEAR, normalize=False)
# The mechanism on one process, what each span runs in `recurrent`, and the gates.
RUNS = {
    "linear attention": (SUMS, SUMS, ()),
    "normalised": (LINEAR, SUMS, ()),
    "taylor features": (partial(SUMS, feature_map=taylor_features), partial(SUMS, feature_map=taylor_features), ()),
    "retention": (partial(definitions.retention_chunked, log_decay=np.array([-0.1, -0.5])),) * 2 + ((),),
    "simple gated": (definitions.simple_gated_linear_attention_chunked,) * 2 + (("log_decay",),),
    "gated": (definitions.gated_linear_attention_chunked,) * 2 + (("log_decay of channels",),),
    "delta": (definitions.delta_rule_recurrent,) * 2 + (("beta",),),
    "gated delta": (definitions.gated_delta_rule_chunked,) * 2 + (("log_decay", "beta"),),
}
MAPS = {"recurrent": recurrent, "recurrent_in_turn": recurrent_in_turn}


def drawn(rng, name, length):
    """Draws a recurrence's problem, with an initial state."""
    width, (_, _, gates) = 3, RUNS[name]
    q, k, v = (rng.standard_normal((1, heads, length, dim)) for heads, dim in ((4, width), (2, width), (2, 2)))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    made = {"log_decay": -rng.random((1, 2, length)), "beta": rng.random((1, 2, length)),
            "log_decay of channels": -rng.random((1, 2, length, width))}
    start = rng.standard_normal((1, 2, 1 + width + width ** 2 if name == "taylor features" else width, 2))
    if name == "normalised":
        start = (start, 1.0 + rng.random((1, 2, width)))
    return Problem(q, k, v, {**{gate.split()[0]: made[gate] for gate in gates}, "initial_state": start})


def given(p):
    """Returns what is differentiated: q, k, v, the gates, and the initial state."""
    options = dict(p.options)
    start = options.pop("initial_state")
    return [p.q, p.k, p.v, options, start]


def listed(out, last, gradients):
    """Returns rows, the last state and all gradients as one list of arrays."""
    d_q, d_k, d_v, d_gates, d_start = gradients
    return [out, *arrays(last), d_q, d_k, d_v, *d_gates.values(), *arrays(d_start)]


def arrays(state):
    return list(state) if isinstance(state, tuple) else [state]


def seeds(out, last):
    """Returns the gradients of a loss with respect to the rows and the last state."""
    made = [np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype) for x in arrays(last)]
    return np.sin(np.arange(out.size)).reshape(out.shape).astype(out.dtype), tuple(made) if isinstance(last, tuple) else made[0]


def one_process(run, p):
    (out, last), pull = vjp(lambda t: run(*t[:3], **t[3], initial_state=t[4], return_state=True), given(p))
    return listed(out, last, pull(seeds(out, last)))


def on_ranks(scheme, run, p, layout, **options):
    """Returns the same, put together from what each rank computes; the loss on the last state is rank 0's."""
    x = given(p)
    d_out = np.sin(np.arange(p.q[..., :2].size)).reshape(*p.q.shape[:-1], 2).astype(p.q.dtype)

    def program(comm):
        rank = comm.Get_rank()
        mine = [*(layout.take(a, rank) for a in x[:3]), {gate: layout.take(a, rank, 2) for gate, a in x[3].items()}, x[4]]
        (out, last), pull = vjp(lambda t: scheme(run, *t, comm, layout, return_state=True, **options), mine)
        d_last = [a * a.dtype.type(rank == 0) for a in arrays(seeds(out, last)[1])]
        return listed(out, last, pull((layout.take(d_out, rank), tuple(d_last) if isinstance(last, tuple) else d_last[0])))

    every = threads.run(layout.ranks, program)
    count = len(arrays(x[4]))
    axes = [-2, *[None] * count, -2, -2, -2, *[2] * len(x[3]), *["sum"] * count]
    put = {None: lambda parts, _: parts[-1], "sum": lambda parts, _: sum(parts)}
    for parts in list(zip(*every, strict=True))[1 : 1 + count]:
        assert len({part.tobytes() for part in parts}) == 1  # the last state is the same on all ranks
    return [put.get(axis, layout.put)(list(parts), axis) for parts, axis in zip(zip(*every, strict=True), axes, strict=True)]


def called(scheme, name, p, layout):
    whole, run, _ = RUNS[name]
    if scheme == "recurrent":
        return on_ranks(recurrent, run, p, layout, normalize=name == "normalised")
    return on_ranks(recurrent_in_turn, whole, p, layout)


@pytest.mark.parametrize("scheme", MAPS)
@pytest.mark.parametrize("name", RUNS)
def test_any_layout_equals_one_process(name, scheme):
    rng, worst = np.random.default_rng(len(name)), 0.0
    for number, (length, dtype) in enumerate(((0, np.float64), (1, np.float32), (7, np.float64), (40, np.float32), (33, np.float64))):
        p, layout = drawn(rng, name, length).astype(dtype), drawn_layout(rng, length, 1 + number % 5)
        got = called(scheme, name, p, layout)
        budget = sufficient(growing((one_process,), RUNS[name][0], p, rng, reorder=False, pool=anywhere), got)
        worst = max(worst, budget.spent(got))
        assert worst <= 1.0, (number, layout)
    assert worst > 0.01  # the budgets are not so wide that nothing could exceed them


@pytest.mark.parametrize("name", [name for name in RUNS if name != "delta"])
def test_states_handed_on_after_whole_chunks_give_the_bits_of_one_process(name):
    p = drawn(np.random.default_rng(1), name, 192).astype(np.float32)
    for got, want in zip(called("recurrent_in_turn", name, p, contiguous(192, 3)), one_process(RUNS[name][0], p), strict=True):
        assert got.tobytes() == np.asarray(want).tobytes()


def test_a_recurrence_that_is_no_affine_map_is_handed_on():
    def run(q, k, v, *, initial_state=None, return_state=False):
        state, rows = np.zeros((1, 2)) if initial_state is None else initial_state, []
        for t in range(q.shape[-2]):
            state = np.tanh(state + k[:, t] * v[:, t])
            rows.append((q[:, t] * state)[:, None])
        return np.concatenate([q[:, :0], *rows], axis=-2), state

    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 9, 2))
    want, layout = run(q, k, v)[0], zigzag(9, 2)
    parts = threads.run(2, lambda comm: recurrent_in_turn(run, *(layout.take(x, comm.Get_rank()) for x in (q, k, v)), None, None, comm, layout))
    assert layout.put(parts).tobytes() == want.tobytes()


def test_states_folded_in_the_order_of_ranks_are_found_out():
    source = inspect.getsource(states)
    right = "sorted(owners, key=lambda owner: layout.spans[owner[0]][owner[1]])"
    assert source.count(right) == 1
    twin = types.ModuleType(states.__name__)
    exec(compile(source.replace(right, "owners"), "twin", "exec"), twin.__dict__)
    rng = np.random.default_rng(2)
    p = drawn(rng, "gated delta", 24)
    budget = measure((one_process,), RUNS["gated delta"][0], p, rng, reorder=False, pool=anywhere)
    assert budget.spent(on_ranks(recurrent, RUNS["gated delta"][1], p, zigzag(24, 3))) <= 1.0
    assert budget.spent(on_ranks(twin.recurrent, RUNS["gated delta"][1], p, zigzag(24, 3))) > 100.0
