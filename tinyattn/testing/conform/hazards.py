"""Hazards: what a kernel does with NaN, inf and the lowest numbers, which changes no verdict but may surprise a user."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Problem
from tinyattn.testing.conform.dialect import visible
from tinyattn.testing.conform.failures import Misshaped, Raised
from tinyattn.testing.conform.probe import made, near
from tinyattn.testing.conform.run import Run


def plain_problem(run: Run, seed: int = 0, q_len: int = 3, **options: Any) -> Problem:
    """Returns a small problem that the kernel takes."""
    heads = 2 if run.room.heads else 1
    return made(heads, heads, q_len if run.room.lengths else 5, 5, seed=seed, **options)


def hazards(run: Run) -> None:
    """Notes what happens to NaN and inf in places that a query does not see, and to a bias that hides all; libraries differ in it."""
    seen = np.broadcast_to(np.arange(5) < 4, (5, 5))
    hiding: dict[str, dict[str, Any]] = {"mask": {"mask": ~seen if run.found["mask"] == "hides" else seen}, "causal": {"causal": True}}
    for hide in ("mask", "causal"):
        if hide in run.options and not (hide == "mask" and run.found["mask"] == "added"):
            for name, poison in (("NaN", np.nan), ("inf", np.inf)):
                rows = poisoned_rows(run, plain_problem(run, q_len=5, **hiding[hide]), poison)
                if rows:
                    place = f"{name} in the last of 5 keys and values"
                    run.stranger.noted.add(f"{place} reaches queries {rows}, from which `{hide}` hides it")
    if "bias" in run.options and run.stranger.dtype in ("float32", "float64"):
        lowest_bias(run)


def poisoned_rows(run: Run, p: Problem, poison: float) -> str:
    """Returns the queries that do not see the last key and value, and yet have another result when these are poisoned."""
    k, v = p.k.copy(), p.v.copy()
    k[..., -1, :], v[..., -1, :] = poison, poison
    try:
        clean, out = run.stranger.call(p)[0], run.stranger.call(p.but(k=k, v=v))[0]
    except (Raised, Misshaped):
        return ""
    pairs = visible(run.found, p.full(), p.options.get("causal", False), None, p.options.get("mask"))
    seen = np.asarray(pairs[..., -1].any(axis=(0, 1)))
    return ", ".join(str(i) for i in range(p.q.shape[-2]) if not seen[i] and not near(out[..., i, :], clean[..., i, :]))


def lowest_bias(run: Run) -> None:
    """Notes a kernel whose result for a row of biases that are the lowest float32 number differs from that for the next number."""
    lowest, rows = np.finfo(np.float32).min, 3 if run.room.lengths else 5
    try:
        here, there = (run.stranger.call(plain_problem(run, bias=np.full((rows, 5), low, np.float64)))[0]
                       for low in (lowest, np.nextafter(lowest, np.float32(0.0))))
    except (Raised, Misshaped):
        return
    if not near(here, there):
        given = "0" if not here.any() else "NaN" if np.isnan(here).all() else "something else"
        run.stranger.noted.add(f"a row whose biases are all the lowest float32 number gives {given}, unlike one of the next number")
