"""Attention over ranks equals attention on one process: outputs, log-sum-exps and gradients, on drawn problems and layouts."""

import ml_dtypes
import numpy as np
import pytest
from sharded import NAMES, differentiable, drawn, drawn_layout, named, on_ranks, one_process, seeds_of, spent

from tinyattn import definitions
from tinyattn.engine.grad import vjp
from tinyattn.fastest import attention_with_lse
from tinyattn.laws.problem import Problem
from tinyattn.ops import masks
from tinyattn.parallel import (
    contiguous,
    head_parallel_attention_with_lse,
    ring_attention_with_lse,
    threads,
    tree_attention_with_lse,
    zigzag,
)

SCHEMES = {"ring": ring_attention_with_lse, "heads": head_parallel_attention_with_lse}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SCHEMES)
def test_any_layout_of_any_problem_equals_one_process(name, dtype):
    rng, worst = np.random.default_rng(7), 0.0
    for number in range(20):
        p = drawn(rng, dtype)
        layout = drawn_layout(rng, p.q.shape[-2], 1 + number % 5)
        worst = max(worst, spent(p, on_ranks(SCHEMES[name], p, layout), rng))
        assert worst <= 1.0, (number, layout, p.options)
    assert worst > 0.01  # the budgets are not so wide that nothing could exceed them


def test_heads_give_the_bits_of_one_process_where_no_group_is_cut():
    rng = np.random.default_rng(3)
    for ranks in (1, 2, 3):
        for length in (33, 96):
            x = [rng.standard_normal((2, heads, length, 8)).astype(np.float32) for heads in (6, 6, 6)]
            p = Problem(*x, {"causal": True})
            got, want = on_ranks(head_parallel_attention_with_lse, p, zigzag(length, ranks)), one_process(None, p, attention_with_lse)
            for name, a, b in zip(NAMES[:5], got, want, strict=True):
                assert a.tobytes() == np.asarray(b).tobytes(), (ranks, length, name)


def test_a_ring_gives_the_same_bits_twice():
    rng = np.random.default_rng(4)
    x = [rng.standard_normal((1, 2, 40, 8)).astype(np.float32) for _ in range(3)]
    p, layout = Problem(*x, {"causal": True}), zigzag(40, 3)
    first, again = on_ranks(ring_attention_with_lse, p, layout), on_ranks(ring_attention_with_lse, p, layout)
    assert [a.tobytes() for a in first] == [a.tobytes() for a in again]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_a_tree_equals_one_process_with_the_same_bits_on_all_ranks(ranks):
    rng = np.random.default_rng(ranks)
    for number in range(8):
        p = drawn(rng, lengths=(7, 20, 33))
        p = p.but(q=p.q[..., -(1 + number % 3):, :])
        if p.options.get("window") == (0, 0):  # of one key per row the definition rounds nothing, and no budget can be measured
            p = p.but(window=(1, 0))
        layout = drawn_layout(rng, p.k.shape[-2], ranks)
        x, options = differentiable(p)
        d_out, d_lse = seeds_of(p)

        def program(comm):
            rank = comm.Get_rank()
            mine = [x[0], *(layout.take(a, rank) for a in x[1:3]), *x[3:]]
            (out, lse), pull = vjp(lambda t: tree_attention_with_lse(*t[:3], comm, layout, **named(t, options)), mine)
            share = np.float32(rank == ranks - 1)  # the loss is on the last rank alone
            return (out, lse, *pull((d_out * share, d_lse * share)))

        every = threads.run(ranks, program)
        for other in every[1:]:
            assert [a.tobytes() for a in other[:2]] == [a.tobytes() for a in every[0][:2]]
        d_q, *d_sinks = (sum(part) for part in zip(*((r[2], *r[5:]) for r in every), strict=True))
        got = (*every[0][:2], d_q, *(layout.put([r[i] for r in every]) for i in (3, 4)), *d_sinks)
        assert spent(p, got, rng) <= 1.0, (number, layout)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", SCHEMES)
def test_halves_are_rounded_once_and_not_per_part(name, dtype):
    rng, layout = np.random.default_rng(0), zigzag(40, 3)
    x = [rng.standard_normal((2, heads, 40, 8)).astype(dtype) for heads in (4, 2, 2)]

    def program(comm):
        out, pull = vjp(lambda t: SCHEMES[name](*t, comm, layout, causal=True)[0], [layout.take(a, comm.Get_rank()) for a in x])
        return (out, *pull(out))

    got = [layout.put(part) for part in zip(*threads.run(3, program), strict=True)]
    out, pull = vjp(lambda t: definitions.attention(*t, causal=True), x)
    eps = float(ml_dtypes.finfo(dtype).eps)
    for a, b in zip(got, (out, *pull(out)), strict=True):
        assert a.dtype == dtype
        exact = b.astype(np.float64)
        # Two roundings of nearly the same float32 number are the same, or neighbours.
        assert (np.abs(a.astype(np.float64) - exact) <= eps * np.abs(exact) + 1e-5).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_what_no_query_sees_may_hold_anything(name):
    rng, layout = np.random.default_rng(0), contiguous(12, 3)
    x = [rng.standard_normal((1, 2, 12, 4)) for _ in range(3)]
    p = Problem(*x, {"mask": masks.first(6)})
    poisoned = p.but(k=p.k.copy(), v=p.v.copy())
    for array in (poisoned.k, poisoned.v):
        array[..., 8, :], array[..., 9, :] = np.nan, np.inf
    for a, b in zip(on_ranks(SCHEMES[name], p, layout), on_ranks(SCHEMES[name], poisoned, layout), strict=True):
        np.testing.assert_array_equal(a, b)
