"""A reproduction: at most ten lines that need NumPy and the kernel alone, with numbers from a seed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tinyattn.testing.conform.axes import LETTERS
from tinyattn.testing.conform.cases import Case
from tinyattn.testing.conform.dialect import default_scale, scale_of

GIVE = {"torch": "torch.tensor({})", "jax": "jnp.asarray({})", "mlx": "mx.array({})", "tinygrad": "Tensor({})",
        "mygrad": "mg.tensor({})", "cupy": "cp.asarray({})"}
IMPORT = {"torch": "import torch", "jax": "import jax.numpy as jnp", "mlx": "import mlx.core as mx",
          "tinygrad": "from tinygrad import Tensor", "mygrad": "import mygrad as mg", "cupy": "import cupy as cp"}
TAKE = {"torch": "{}.detach().double().numpy()", "mygrad": "{}.data", "tinygrad": "{}.numpy()", "cupy": "{}.get()"}
# Numbers that a dtype holds exactly, so that the kernel and the lines after it compute from the same ones.
ROUNDED = {"float64": "x", "float32": "x.astype('f4')", "float16": "x.astype('f2')",
           "bfloat16": "(x.astype('f4').view('u4') + 0x8000 & 0xffff0000).view('f4')"}


def home(fn: Callable[..., Any]) -> str:
    """Returns the line that imports a function, or one that says that its place is not known."""
    name, module = getattr(fn, "__name__", ""), getattr(fn, "__module__", "")
    if name.isidentifier() and getattr(inspect.getmodule(fn), name, None) is fn and module != "__main__":
        return f"from {module} import {name} as mine"
    return "mine = ...  # your kernel"


def script_of(case: Case, dialect: Mapping[str, str], fn: Callable[..., Any], arrays: str, dtype: str, allowed: float) -> str:
    """Returns lines that make the case again and print the largest error of the kernel beside softmax attention in float64.

    >>> from tinyattn.definitions import attention
    >>> from tinyattn.testing.conform.dialect import dialect_of
    >>> text = script_of(Case(0, groups=1, options=(("causal", True),)), dialect_of(None), attention, "numpy", "float32", 1e-6)
    >>> len(text.splitlines()) <= 10, "seen = (j <= i + 2)" in text
    (True, True)
    """
    given, own = settled(case, dialect), {name: f"{name}.astype('{plain(dtype)}')" for name in ("q", "k", "v", "bias", "sinks")}
    own["mask"] = "mask"
    into, out = LETTERS[dialect["layout"].split("->")[0]], LETTERS[dialect["layout"].split("->")[-1]]
    keys = (case.batch, case.kv_heads, case.kv_len)
    shapes = f"{(case.batch, case.heads, case.q_len, case.head_dim)}, {(*keys, case.head_dim)}, {(*keys, case.value_dim)}"
    lines = [f"import numpy as np{'; ' + IMPORT[arrays] if arrays in IMPORT else ''}", home(fn),
             f"stored = lambda x: {ROUNDED[dtype]}.astype('f8')",
             f"draw = lambda n, *shape: np.random.default_rng(({case.seed}, n)).standard_normal(shape)",
             f"q, k, v = ({scaled(case)} for n, s in enumerate(({shapes})))"]
    pairs = f"{case.q_len}, {case.kv_len}"
    made = {"mask": f"draw(3, {pairs}) < {dict(case.options).get('mask')}", "bias": f"stored(draw(4, {pairs}))",
            "sinks": f"stored({dict(case.options).get('sinks')} * draw(5, {case.heads}))"}
    extra = [f"{name} = {made[name]}" for name in made if name in dict(case.options)]
    sides = f"i, j = np.ogrid[:{case.q_len}, :{case.kv_len}]"
    lines.append("; ".join([*extra, sides, f"seen = {visible_pairs(case, dialect, given)}"]))
    lines.append(f"w = np.where(seen, np.exp({scores(case, dialect, given)}), 0.0)")
    lines.append(f"want = np.einsum('bhtd->{out}', {averaged(case, dialect, given)})")

    def passed(name: str) -> str:
        text = own[name] if name not in ("q", "k", "v") or into == "bhtd" else f"np.einsum('bhtd->{into}', {own[name]})"
        text = GIVE.get(arrays, "{}").format(text)
        return f"{text}.to(torch.{dtype})" if arrays == "torch" and name != "mask" else text

    options = [f"{name}={passed(name) if name in own else repr(value)}" for name, value in case.options]
    called = f"mine({', '.join([passed('q'), passed('k'), passed('v'), *options])})"
    got = TAKE.get(arrays, "np.asarray({}, float)").format(called)
    lines.append(f"print(np.abs({got} - want).max(), 'where {allowed:.1e} is allowed')")
    return "\n".join(lines)


def settled(case: Case, dialect: Mapping[str, str]) -> dict[str, Any]:
    """Returns the options that have an effect in a dialect, with what they are made from."""
    given = dict(case.options)
    if "causal" in given and "bias" in given and dialect["combined_bias"].endswith("-alone"):
        given.pop("causal" if dialect["combined_bias"] == "bias-alone" else "bias")
    return given


def plain(dtype: str) -> str:
    """Returns the dtype in which NumPy hands the numbers over."""
    return dtype if dtype != "bfloat16" else "float32"


def scaled(case: Case) -> str:
    """Returns one of the three arrays as an expression of its number n and shape s."""
    factor = f" * ({case.spread}, 1, 1)[n]" if case.spread != 1.0 else ""
    offset = f" + (0, {case.offset}, {case.offset})[n]" if case.offset else ""
    return f"stored(draw(n, *s){factor}{offset})"


def repeated(case: Case, dialect: Mapping[str, str], x: str) -> str:
    """Returns keys or values with one row of heads per query head."""
    reads = {"blocks": [h // case.groups for h in range(case.heads)], "tiled": [h % case.kv_heads for h in range(case.heads)],
             "first": [0] * case.heads}[dialect["groups"]]
    return x if reads == list(range(case.kv_heads)) else f"{x}[:, {reads}]"


def scores(case: Case, dialect: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Returns the scores as an expression."""
    factor = scale_of(dialect, case.head_dim, given.get("scale"))
    text, cap = f"{factor!r} * q @ {repeated(case, dialect, 'k')}.mT", given.get("softcap")
    late = dialect["softcap"] == "after-bias"
    if "bias" in given and dialect["bias"] == "before-scale":
        text = f"{text} + {factor!r} * bias"
    elif "bias" in given and (late or cap is None):
        text = f"{text} + bias"
    if dialect["mask"] == "added" and "mask" in given:
        text = f"{text} + mask"
    if cap is None:
        return text
    text = f"{cap} * np.tanh(({text}) / {cap})"
    return f"{text} + bias" if "bias" in given and not late and dialect["bias"] == "after-scale" else text


def averaged(case: Case, dialect: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Returns the outputs as an expression of the exponentials w."""
    total = "w.sum(-1, keepdims=True)"
    if "sinks" in given:
        sink = {"denominator": "np.exp(sinks)", "twice": "2 * np.exp(sinks)",
                "scaled": f"np.exp({default_scale(dialect, case.head_dim)!r} * sinks)"}[dialect["sinks"]]
        total = f"({total} + {sink}[:, None, None])"
    values = repeated(case, dialect, "v")
    found = f"w @ {values} / np.maximum({total}, 1e-300)"
    instead = {"nan": "np.nan", "mean": None if "sinks" in given else f"{values}.mean(-2, keepdims=True)"}.get(dialect["empty"])
    return f"np.where(w.any(-1, keepdims=True), {found}, {instead})" if instead else found


def visible_pairs(case: Case, dialect: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Returns which query i sees which key j as an expression, in the kernel's dialect."""
    late = f"i + {case.kv_len - case.q_len}" if case.kv_len != case.q_len else "i"
    terms = []
    replaced = "causal" in given and dialect["combined"] == "causal-alone"
    if "mask" in given and dialect["mask"] != "added" and not replaced:
        terms.append("mask" if dialect["mask"] == "attends" else "~mask")
    if "causal" in given and not ("mask" in given and dialect["combined"] == "mask-alone"):
        at = "i" if dialect["causal"].startswith("top-left") else late
        if dialect["causal"] != "top-left-unless-one" or case.q_len > 1:
            terms.append({"strict": f"(j < {at})", "reversed": f"(j >= {at})"}.get(dialect["causal"], f"(j <= {at})"))
    if given.get("window") is not None and ("causal" in given or dialect["window"] != "needs-causal"):
        at, longer = "i" if dialect["window"] == "top-left" else late, {"including": -1, "one-more": 1}.get(dialect["window"], 0)
        left, right = given["window"]
        terms += [] if left is None else [f"(j >= {at} - {left + longer})"]
        terms += [] if right is None else [f"(j <= {at} + {right + longer})"]
    return " & ".join(terms) or "np.ones((1, 1), bool)"
