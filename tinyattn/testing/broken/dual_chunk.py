"""Faults in dual chunk attention: exchanged or clamped positions, parts that are not merged."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention_with_lse
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.merge import merge
from tinyattn.ops.positions.rotary import rotary
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

ROW = "dual_chunk_attention"


def parts(p: Problem, *, absolute: bool = False, swapped: bool = False, clamped: bool = False) -> list[Any]:
    """Returns (out, lse) for the own chunk, the chunk before and all earlier ones, with these faults in their positions."""
    chunk, local, code = p.options["chunk"], p.options["local"], p.options["clamp"] == "code"
    most = min(2 * chunk - 1, chunk + local) if code else chunk + local - 1
    given = p.options.get("positions")
    at = np.arange(p.k.shape[-2]) if given is None else given
    asked = at[p.k.shape[-2] - p.q.shape[-2] :]
    inside, apart = asked % chunk, asked[:, None] // chunk - at // chunk
    places = [np.minimum(inside, local) if clamped else inside, np.minimum(inside + chunk, most), np.full_like(inside, most)]
    turn = {name: p.options[name] for name in ("base", "interleaved")}
    keys = rotary(p.k, at if absolute else at % chunk, **turn)
    return [attention_with_lse(rotary(p.q, place, **turn), keys, p.v, mask=(np.minimum(apart, 2) == n) & (at <= asked[:, None]),
                               scale=p.options.get("scale"))
            for n, place in enumerate([places[0], places[2], places[1]] if swapped else places)]


def merged(some: list[Any]) -> Any:
    """Returns the three parts merged."""
    return merge(merge(some[0], some[1]), some[2])[0]


@twin("equals_three_merged", "two_chunks_in_reach_are_rotary_attention", row=ROW)
def earlier_and_before_exchanged(f: Mechanism, p: Problem) -> Any:
    """The query positions for the chunk before and for all earlier chunks are exchanged."""
    return merged(parts(p, swapped=True))


@twin("equals_three_merged", "code_reaches_one_token_further", row=ROW)
def one_clamp_for_both(f: Mechanism, p: Problem) -> Any:
    """The clamp is chunk + local for both variants: the paper's is one less."""
    return (p.but(local=p.options["local"] + 1) if p.options["clamp"] == "paper" else p).call(f)


@twin("equals_three_merged", "where_nothing_turns_it_is_attention", row=ROW)
def parts_averaged(f: Mechanism, p: Problem) -> Any:
    """Each part has its own softmax, and the parts that see a key are averaged."""
    some = parts(p)
    seeing = sum(np.isfinite(lse).astype(p.q.dtype) for _, lse in some)
    return sum(out for out, _ in some) / np.maximum(seeing, 1.0)[..., None]


@twin("chunks_later_is_the_same", "equals_three_merged", row=ROW)
def keys_at_their_own_places(f: Mechanism, p: Problem) -> Any:
    """Keys are rotated by their position in the text instead of that in their chunk."""
    return merged(parts(p, absolute=True))


@twin("one_chunk_is_rotary_attention", row=ROW)
def own_chunk_clamped_too(f: Mechanism, p: Problem) -> Any:
    """The clamp is also applied to positions within the query's own chunk."""
    return merged(parts(p, clamped=True))


@twin("cached_is_full", "equals_three_merged", row=ROW)
def chunks_counted_from_the_end(f: Mechanism, p: Problem) -> Any:
    """With left padding, chunks are counted from the last token and move with each new one."""
    return p.but(positions=np.arange(p.k.shape[-2]) - p.k.shape[-2]).call(f)


@twin("where_nothing_turns_it_is_attention", "cached_is_full", row=ROW)
def scale_of_todays_length(f: Mechanism, p: Problem) -> Any:
    """Queries grow with 0.1 log(length) of the current text: in a longer text all scores differ."""
    return p.but(q=p.q * (0.1 * np.log(max(p.k.shape[-2], 1)) + 1.0)).astype(p.q.dtype).call(f)


@twin("gradients_equal_three_merged", row=ROW)
def merge_without_a_gradient(f: Mechanism, p: Problem) -> Any:
    """The parts are merged by sums without a gradient: outputs are right and training is wrong."""
    return merged([(out, stopped(lse)) for out, lse in parts(p)])
