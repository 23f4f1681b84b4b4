"""Test vectors: inputs, outputs, gradients and the allowed error of each, in files that any language can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinyattn.catalog import Row
from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import anywhere, measure
from tinyattn.laws.gradient import first
from tinyattn.laws.law import plain
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.files.atomic import replacing
from tinyattn.ops.files.safetensors import save
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array
from tinyattn.testing.conform.budgets import of_gradients, of_outputs
from tinyattn.testing.conform.cases import Case
from tinyattn.testing.conform.dialect import OURS

VERSION = 1
# What the cases of softmax attention are about, described once.
FLAGS = {
    "plain": "no option: softmax of scaled products", "causal": "the last query sees the last key",
    "grouped": "query heads share kv heads",
    "mask": "True attends", "empty": "a query sees no key and gives 0", "window": "(left, right) counts keys besides the query's own",
    "bias": "added to the scores after scale and cap", "softcap": "cap tanh(score / cap)",
    "sinks": "a logit per head in the denominator only",
    "scale": "replaces head_dim ** -0.5", "decode": "one query, many keys", "edge": "lengths around 64", "spiky": "large scores",
    "drawn": "drawn as the catalog draws problems of the mechanism",
}
CASES: tuple[tuple[tuple[str, ...], Case], ...] = (
    (("plain",), Case(1, groups=1)), (("plain", "grouped"), Case(2, groups=3)), (("causal",), Case(3, options=(("causal", True),))),
    (("causal", "decode"), Case(4, q_len=1, kv_len=17, options=(("causal", True),))),
    (("mask", "empty"), Case(5, options=(("mask", 0.5),))),
    (("window", "causal"), Case(6, q_len=9, kv_len=13, options=(("causal", True), ("window", (2, 0))))),
    (("bias",), Case(7, options=(("bias", 1.0),))), (("softcap", "bias"), Case(8, options=(("softcap", 0.7), ("bias", 1.0)))),
    (("sinks",), Case(9, options=(("sinks", 1.0),))), (("scale", "spiky"), Case(10, spread=4.0, options=(("scale", 1.0),))),
    (("causal", "edge"), Case(11, q_len=63, kv_len=65, kv_heads=1, options=(("causal", True),))),
)


def write_vectors(folder: Path, row: Row, *, seed: int = 0) -> dict[str, Any]:
    """Writes one mechanism's vectors, NAME.safetensors, and returns its entry of the schema.

    The arrays of case n are n/q, n/k, n/v, n/OPTION, and n/out, n/d_out, n/d_q ... in float64, each of these with
    n/allowed/NAME, the error that a float32 kernel may have; n/visible says for softmax attention which query sees which key.
    """
    arrays: dict[str, Array] = {}
    cases = []
    for n, (flags, problem, results) in enumerate(softmax_cases() if row.name == "attention" else drawn_cases(row, seed)):
        options = {name: x.dense(*problem.full()[-2:]) if isinstance(x, Pattern) else x for name, x in problem.options.items()}
        numbers = {name: x for name, x in options.items() if not isinstance(x, np.ndarray)}
        given = {"q": problem.q, "k": problem.k, "v": problem.v} | {name: x for name, x in options.items() if name not in numbers}
        arrays |= {f"{n}/{name}": x.astype(np.float32) if x.dtype.kind == "f" else x for name, x in given.items()}
        arrays |= {f"{n}/{name}": x for name, x in results.items()}
        cases.append({"case": n, "flags": list(flags), "options": numbers, "arrays": sorted(given)})
    file = f"{row.name}.safetensors"
    save(folder / file, arrays, metadata={"cases": json.dumps(cases)})
    return {"file": file, "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(), "cases": cases}


def write_schema(folder: Path, entries: Mapping[str, Any]) -> None:
    """Writes schema.json: the version, what the flags mean, and per mechanism its file, the file's hash and its cases."""
    with replacing(folder / "schema.json", "w") as out:
        json.dump({"version": VERSION, "flags": FLAGS, "mechanisms": entries}, out, indent=1)


def storable(x: Any) -> bool:
    """Returns whether files can hold an option: an array, a pattern as its dense array, numbers and texts as JSON."""
    if isinstance(x, (tuple, list)):
        return all(part is None or (storable(part) and not isinstance(part, (np.ndarray, Pattern))) for part in x)
    return isinstance(x, (np.ndarray, Pattern, bool, int, float, str))


def softmax_cases() -> list[tuple[tuple[str, ...], Problem, dict[str, Array]]]:
    """Returns the cases of softmax attention with their results."""
    found = []
    for flags, case in CASES:
        p, rng = case.problem("float32"), np.random.default_rng(case.seed)
        if "empty" in flags:
            p = p.but(mask=p.options["mask"] & (np.arange(case.q_len)[:, None] != 1))
        budget = of_outputs(p, OURS, "float32", "float32", rng)
        d_out = np.asarray(rng.standard_normal(budget.truth[0].shape), np.float32).astype(np.float64)
        pulled = of_gradients(p, d_out, OURS, "float32", "float32", rng)
        names = ["q", "k", "v", *(["bias"] if "bias" in p.options else [])]
        results = {"visible": p.visible(), "out": budget.truth[0], "allowed/out": budget.allowed[0], "d_out": d_out}
        for name, truth, allowed in zip(names, pulled.truth, pulled.allowed, strict=True):
            results |= {f"d_{name}": truth, f"allowed/d_{name}": allowed}
        found.append((flags, p, results))
    return found


def drawn_cases(row: Row, seed: int, count: int = 6) -> list[tuple[tuple[str, ...], Problem, dict[str, Array]]]:
    """Returns cases of any mechanism: problems as the catalog draws them, whose options files can hold."""
    rng = np.random.default_rng(seed)
    found: list[tuple[tuple[str, ...], Problem, dict[str, Array]]] = []
    while len(found) < count:
        p = row.sample(rng, row.fit(replace(Sizes(dtype="float32"), q_len=int(rng.integers(3, 9)), kv_len=int(rng.integers(3, 9)))))
        p = replace(p, options={name: x for name, x in p.options.items() if x is not False and storable(x)})
        budget = measure((plain,), row.mechanism, p, rng, reorder=False)
        d_out = np.asarray(rng.standard_normal(budget.truth[0].shape), np.float32).astype(np.float64)

        def side(f: Any, problem: Problem, d_out: Array = d_out) -> tuple[Array, ...]:
            _, pull = vjp(lambda t: first(problem.but(**t).call(f)), {"q": problem.q, "k": problem.k, "v": problem.v})
            return tuple(np.asarray(x) for x in pull(d_out.astype(problem.q.dtype)).values())

        pulled = measure((side,), row.mechanism, p, rng, reorder=False, pool=anywhere)
        results = {"out": budget.truth[0], "allowed/out": budget.allowed[0], "d_out": d_out}
        for name, truth, allowed in zip("qkv", pulled.truth, pulled.allowed, strict=True):
            results |= {f"d_{name}": truth, f"allowed/d_{name}": allowed}
        found.append((("drawn",), p, results))
    return found


