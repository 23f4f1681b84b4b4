"""Hazards: what a kernel does with NaN, inf and the lowest numbers, which no verdict is about and users stumble over."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention
from tinyattn.laws.problem import Problem
from tinyattn.testing.conform.dialect import spoken
from tinyattn.testing.conform.probe import made, near
from tinyattn.testing.conform.run import Run
from tinyattn.testing.conform.stranger import Misshaped, Raised


def plain_problem(run: Run, seed: int = 0, **options: Any) -> Problem:
    """Returns a small problem that the kernel takes."""
    heads = 2 if run.room.heads else 1
    return made(heads, heads, 3 if run.room.lengths else 5, 5, seed=seed, **options)


def hazards(run: Run) -> None:
    """Notes what happens to NaN and inf in places that a query does not see, and to a bias that hides all; libraries differ in it."""
    q_len = 3 if run.room.lengths else 5
    seen = np.broadcast_to(np.arange(5) < 4, (q_len, 5))
    hiding: dict[str, dict[str, Any]] = {"mask": {"mask": ~seen if run.found["mask"] == "hides" else seen}, "causal": {"causal": True}}
    for hide in ("mask", "causal"):
        if hide not in run.options or (hide == "mask" and run.found["mask"] == "added"):
            continue
        p = plain_problem(run, **hiding[hide])
        for name, poison in (("NaN", np.nan), ("inf", np.inf)):
            k, v = p.k.copy(), p.v.copy()
            k[..., -1, :], v[..., -1, :] = poison, poison
            rows = poisoned_rows(run, p.but(k=k, v=v))
            if rows:
                run.stranger.noted.add(f"{name} in the last key and value, which `{hide}` hides, reaches queries {rows} of {q_len}")
    if "bias" in run.options and run.stranger.dtype in ("float32", "float64"):
        lowest_bias(run, q_len)


def poisoned_rows(run: Run, p: Problem) -> str:
    """Returns the queries that do not see what is poisoned, and yet have a result that differs from the definition's."""
    try:
        with np.errstate(all="ignore"):
            out, want = run.stranger.call(p)[0], np.asarray(p.call(spoken(run.found, attention)))
    except (Raised, Misshaped):
        return ""
    rows = [i for i in range(want.shape[-2]) if np.isfinite(want[..., i, :]).all() and not near(out[..., i, :], want[..., i, :])]
    return ", ".join(map(str, rows))


def lowest_bias(run: Run, q_len: int) -> None:
    """Notes where a row whose biases are all the lowest number of float32 gives something else than one of the next number."""
    lowest = np.finfo(np.float32).min
    try:
        here, there = (run.stranger.call(plain_problem(run, bias=np.full((q_len, 5), low, np.float64)))[0]
                       for low in (lowest, np.nextafter(lowest, np.float32(0.0))))
    except (Raised, Misshaped):
        return
    if not near(here, there):
        given = "0" if not here.any() else "NaN" if np.isnan(here).all() else "something else"
        run.stranger.noted.add(f"a row whose biases are all the lowest float32 number gives {given}, unlike one of the next number")
