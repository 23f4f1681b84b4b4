"""What the live page shows of a mechanism: computed by this file when the site is built, and by the same file in the browser."""

from __future__ import annotations

import html
import inspect
import json
import math
import re
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn import definitions, ops, vjp
from tinyattn.catalog import find
from tinyattn.catalog.row import Row
from tinyattn.laws.law import outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes

WIDTH, HEAD_DIM, MOST = 16, 8, 24
FIRST = {"mechanism": "attention", "sentence": "the cat sat on the mat because the cat was tired", "heads": 4, "shared": 2,
         "window": 3, "causal": True, "softcap": None}


def split(sentence: str) -> list[str]:
    """Returns all words and signs of a sentence."""
    return re.findall(r"\w+|[^\w\s]", sentence)


def tokens(sentence: str) -> list[str]:
    """Returns the words and signs of a sentence, at most 24; ValueError if there are none."""
    found = split(sentence)[:MOST]
    if not found:
        raise ValueError("sentence: expected at least one word, got none")
    return found


def embedded(words: list[str]) -> np.ndarray:
    """Returns one vector per word: the same for equal words, plus a small part that depends on the position."""
    drawn = [np.random.default_rng(zlib.crc32(word.lower().encode())).standard_normal(WIDTH) for word in words]
    return np.stack(drawn) + 0.5 * ops.sinusoidal(np.arange(len(words)), WIDTH)


def projected(x: np.ndarray, like: np.ndarray, kv_heads: int, role: int) -> np.ndarray:
    """Returns x projected by one matrix per head to the shape of `like`; a query head is near its key head, so equal words match."""
    heads, width = math.prod(like.shape[:-2]), like.shape[-1]

    def matrix(seed: int, head: int) -> np.ndarray:
        return np.random.default_rng((seed, head)).standard_normal((WIDTH, width)) / math.sqrt(WIDTH)

    rows = [x @ (matrix(0, h * kv_heads // heads) + 0.6 * matrix(role, h)) for h in range(heads)]
    return np.stack(rows).reshape(like.shape) if heads else like


def accepts(row: Row) -> dict[str, inspect.Parameter]:
    """Returns the keyword arguments of a row's definition; one that passes options on takes those of attention."""
    own = inspect.signature(row.definition).parameters.values()
    passed_on = [*inspect.signature(definitions.attention).parameters.values()] if any(p.kind is p.VAR_KEYWORD for p in own) else []
    return {p.name: p for p in (*passed_on, *own) if p.kind is p.KEYWORD_ONLY}


def takes(row: Row) -> list[str]:
    """Returns the settings of the page that a mechanism takes; a `window` that is the side of a tile on a grid does not count."""
    known = accepts(row)
    drawn = row.sample(np.random.default_rng(0), row.fit(Sizes((), 2, 2, 6, 6))).options.get("window")
    on_a_grid = "window" in known and known["window"].default is inspect.Parameter.empty and isinstance(drawn, tuple)
    return [name for name in ("causal", "softcap", "window") if name in known and not (name == "window" and on_a_grid)]


def reads_tokens(row: Row) -> bool:
    """Returns whether a mechanism attends to keys; a gate on an image has no keys and no matrix of weights."""
    return row.sample(np.random.default_rng(0), row.fit(Sizes((), 2, 2, 6, 6))).k.size > 0


def sizes_of(row: Row, length: int, heads: int, shared: int) -> Sizes:
    """Returns the sizes that a row takes and that are nearest to those asked for."""
    wished = Sizes((), max(heads // shared, 1), min(shared, heads), length, length, HEAD_DIM, HEAD_DIM)
    fitted = row.fit(wished)
    if fitted.groups == 1:
        return row.fit(replace(fitted, kv_heads=heads))
    return row.fit(replace(fitted, groups=heads)) if fitted.kv_heads == 1 else fitted


def longest(row: Row, sizes: Sizes) -> Problem:
    """Returns a problem of the length asked for; a row that draws its own lengths (grids) gives the longest that can be shown."""
    best = row.sample(np.random.default_rng(0), sizes)
    for seed in range(1, 12):
        if best.k.shape[-2] == sizes.kv_len:
            break
        other = row.sample(np.random.default_rng(seed), sizes)
        if best.k.shape[-2] < other.k.shape[-2] <= MOST:
            best = other
    return best


def example(row: Row, words: list[str], *, heads: int = 4, shared: int = 2, window: int | None = None, causal: bool = True,
            softcap: float | None = None) -> tuple[Problem, Sizes]:
    """Returns a problem of a row whose arrays are made from words, with the arguments and options that its definition takes."""
    sizes = sizes_of(row, len(words), heads, shared)
    drawn = longest(row, sizes)
    known = accepts(row)
    called = inspect.signature(row.mechanism).parameters.values()
    optional = {name for name, p in known.items() if p.default is not inspect.Parameter.empty}
    optional -= {p.name for p in called if p.kind is p.KEYWORD_ONLY and p.default is p.empty} | {given.name for given in row.inputs}
    needed = {name: option for name, option in drawn.options.items() if name not in optional}
    p = Problem(drawn.q, drawn.k, drawn.v, needed)
    length = p.q.shape[-2]
    if length == len(words) == p.k.shape[-2]:
        x = embedded(words)
        p = p.but(**{name: projected(x, getattr(p, name), sizes.kv_heads, role) for role, name in enumerate("qkv", 1)
                     if getattr(p, name).ndim >= 2 and getattr(p, name).shape[-2] == length})
    if "beta" in needed:
        p = p.but(q=ops.unit(p.q), k=ops.unit(p.k))  # a write of strength up to 1 is stable for keys of length 1
    if "feature_map" in known:
        p = p.but(feature_map=ops.elu_plus_one, normalize=True)
    taken = takes(row)
    if "causal" in taken:
        p = p.but(causal=causal)
    if "softcap" in taken and softcap is not None:
        p = p.but(softcap=softcap)
    if "window" in taken and window is not None:
        pair = known["window"].default is not inspect.Parameter.empty
        p = p.but(window=(window, 0 if causal else window) if pair else window)
    return p, sizes


def mixing(f: Mechanism, p: Problem) -> np.ndarray:
    """Returns the weight of each token's value in the output of each query: (heads, q_len, kv_len).

    A mechanism that is linear in its values is a matrix: its output for unit vectors as values, or else the derivative of one
    channel of the output by the same channel of each value. Where there are no values (latent attention) it is the norm of the
    derivative by each token's entry in k.
    """
    length = p.k.shape[-2]
    if not has_values(p):
        return slopes(lambda k: outputs(p.but(k=k).call(f))[0], p.k, lambda g: np.linalg.norm(g, axis=-1))
    try:
        out = outputs(p.but(v=np.broadcast_to(np.eye(length), (*p.v.shape[:-1], length))).call(f))[0]
    except ValueError:  # values of this width fit no other argument
        out = p.v
    if out.shape[-1] == length:
        return out.reshape(-1, *out.shape[-2:])
    return slopes(lambda v: outputs(f(p.q, p.k, v, **p.options))[0], p.v, lambda g: g[..., 0])


def has_values(p: Problem) -> bool:
    """Returns whether v holds one value per key."""
    return p.v.ndim == p.q.ndim and p.v.shape[-2] == p.k.shape[-2] and p.v.shape[-1] > 0


def slopes(f: Mechanism, x: np.ndarray, of: Mechanism) -> np.ndarray:
    """Returns `of` applied to the derivative by x of every row of f(x), summed over channels: (heads, q_len, kv_len)."""
    out, pullback = vjp(f, x)
    flat = out.reshape(-1, *out.shape[-2:])
    found = np.empty((*flat.shape[:-1], x.shape[-2]))
    for head, query in np.ndindex(flat.shape[:-1]):
        d_out = np.zeros_like(flat)
        d_out[head, query] = 1.0
        found[head, query] = of(pullback(d_out.reshape(out.shape)).reshape(-1, *x.shape[-2:]).sum(axis=0))
    return found


def compute(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the numbers of the page: weights, mask, output norms, cache bytes, and the words they belong to."""
    row = find(settings["mechanism"])
    if not reads_tokens(row):
        raise ValueError(f"mechanism: expected one that reads tokens, got {row.name}")
    if settings["heads"] % settings["shared"]:
        raise ValueError(f"heads: expected a multiple of the {settings['shared']} that share a key head, got {settings['heads']}")
    words = tokens(settings["sentence"])
    p, sizes = example(row, words, **{name: settings[name] for name in ("heads", "shared", "window", "causal", "softcap")})
    weights = mixing(row.mechanism, p)
    out = outputs(p.call(row.mechanism))[0]
    norms = np.linalg.norm(out.reshape(-1, *out.shape[-2:]), axis=-1).mean(axis=0)
    rows, words = ((words * length)[:length] for length in weights.shape[-2:])  # a grid may need more tokens
    sized = None if row.cache_bytes is None else [
        row.cache_bytes(length, sizes.kv_heads, HEAD_DIM, HEAD_DIM, 4) for length in (len(words), 100_000)]
    return {"rows": rows, "words": words, "weights": weights.tolist(), "mask": (weights != 0).tolist(), "norms": norms.tolist(),
            "cache_bytes": sized, "cache_formula": row.cache_formula, "says": row.says}


def grid(matrix: np.ndarray, rows: list[str], columns: list[str], *, top: float, label: str, side: int = 18) -> str:
    """Returns an SVG of a matrix: blue where it is positive, orange where it is negative, and stronger where it is larger."""
    margin = 7 * max(map(len, rows)) + 8
    width, height = margin + side * len(columns) + 1, side * len(rows) + 7 * max(map(len, columns)) + 8
    cells = []
    for (i, j), x in np.ndenumerate(matrix):
        if x:
            colour, strength = ("pos" if x > 0 else "neg"), 0.22 + 0.78 * min(abs(float(x)) / top, 1.0)
            cells.append(f'<rect class="{colour}" x="{margin + j * side}" y="{i * side}" width="{side}" height="{side}" '
                         f'fill-opacity="{strength:.3f}"><title>{html.escape(rows[i])} reads {html.escape(columns[j])} '
                         f'with weight {float(x):.3f}</title></rect>')
    lines = "".join(f"M{margin + x * side} 0V{side * len(rows)}" for x in range(len(columns) + 1))
    lines += "".join(f"M{margin} {y * side}H{margin + side * len(columns)}" for y in range(len(rows) + 1))
    names = "".join(f'<text x="{margin - 6}" y="{i * side + 13}" text-anchor="end">{html.escape(word)}</text>'
                    for i, word in enumerate(rows))
    names += "".join(f'<text transform="translate({margin + j * side + 5} {side * len(rows) + 6}) rotate(90)">{html.escape(word)}'
                     "</text>" for j, word in enumerate(columns))
    return (f'<figure><svg class="map" viewBox="-1 -1 {width + 1} {height + 1}" width="{width}" role="img" '
            f'aria-label="{html.escape(label)}">{"".join(cells)}<path class="lines" d="{lines}"/>{names}</svg>'
            f"<figcaption>{html.escape(label)}</figcaption></figure>")


def bars(norms: list[float], words: list[str]) -> str:
    """Returns the norms of the outputs as a list of bars."""
    top = max([*norms, 1e-30])
    rows = "".join(f'<tr><th scope="row">{html.escape(word)}</th><td><span class="bar" style="width:{100 * norm / top:.1f}%">'
                   f'</span></td><td class="number">{norm:.3f}</td></tr>' for word, norm in zip(words, norms, strict=True))
    return f'<table class="norms"><caption>norm of the output at each word, mean over the heads</caption>{rows}</table>'


def drawn(numbers: dict[str, Any]) -> str:
    """Returns the numbers as HTML."""
    rows, words, weights = numbers["rows"], numbers["words"], np.array(numbers["weights"])
    top = float(np.abs(weights).max()) or 1.0
    label = "visible pairs, head 0"
    maps = [grid(np.array(numbers["mask"])[0].astype(float), rows, words, top=1.6, label=label)]
    maps += [grid(w, rows, words, top=top, label=f"weights of head {h}") for h, w in enumerate(weights)]
    if numbers["cache_bytes"] is None:
        cache = "the catalog lists none of its own for this mechanism"
    else:
        now, later = (f"{n:,}" for n in numbers["cache_bytes"])
        cache = (f"<strong>{now}</strong> bytes for these {len(words)} tokens in float32, <strong>{later}</strong> for 100,000: "
                 f"{html.escape(numbers['cache_formula'])}")
    return (f'<p class="says">{html.escape(numbers["says"])}</p><div class="maps">{"".join(maps)}</div>'
            f'{bars(numbers["norms"], rows)}<p class="cache">Cache: {cache}</p>')


def page(settings: str) -> str:
    """Returns numbers and HTML for settings in JSON, or the library's message if it refuses them."""
    try:
        numbers = compute(json.loads(settings))
    except (ValueError, TypeError) as refusal:
        return json.dumps({"refused": str(refusal)})
    length = len(split(json.loads(settings)["sentence"]))
    cut = f"Of {length} words and signs the first {MOST} are used." if length > MOST else ""
    return json.dumps({"numbers": numbers, "html": drawn(numbers), "cut": cut})
