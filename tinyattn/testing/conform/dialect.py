"""The dialect of a kernel: the conventions in which right attention functions differ, and the definition in each of them.

A dialect is a dict with one word per question. `spoken` turns the definition into one that follows these conventions, so that
a kernel is judged by its own.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism
from tinyattn.ops.types import Array

# The possible answers to each question, each a word with its meaning; the first is tinyattn's own.
QUESTIONS: dict[str, dict[str, str]] = {
    "layout": {
        "BHTD": "arrays are (batch, heads, length, channels)", "BTHD": "arrays are (batch, length, heads, channels)",
        "HTD": "arrays are (heads, length, channels), without a batch", "THD": "arrays are (length, heads, channels), without a batch",
        "TD": "arrays are (length, channels), one head at a time",
        "BHTD->BTHD": "inputs are (batch, heads, length, channels), outputs (batch, length, heads, channels)"},
    "scale": {
        "1/sqrt(d)": "without a scale, scores are divided by the root of head_dim", "1": "without a scale, scores are not scaled",
        "1/d": "without a scale, scores are divided by head_dim",
        "1/d**0.25": "without a scale, scores are divided by head_dim ** 0.25",
        "log2(e)/sqrt(d)": "scores are multiplied by log2(e) / sqrt(head_dim)"},
    "scale_option": {
        "replaces": "a given scale replaces the default", "multiplies": "a given scale multiplies the default",
        "divides": "scores are divided by a given scale"},
    "groups": {
        "blocks": "query head h reads kv head h // (heads // kv_heads)", "tiled": "query head h reads kv head h % kv_heads",
        "first": "every query head reads kv head 0"},
    "causal": {
        "bottom-right": "the last query sees the last key", "top-left": "the first query sees the first key alone",
        "strict": "a query does not see its own key", "reversed": "a query sees no earlier key",
        "top-left-unless-one": "the first query sees the first key alone, but a single query sees every key"},
    "mask": {
        "attends": "True in a mask shows the key", "hides": "True in a mask hides the key",
        "added": "a mask is added to the scores as the numbers 0 and 1"},
    "combined": {
        "and": "with causal and a mask a key must be visible in both", "mask-alone": "a mask replaces causal",
        "causal-alone": "causal replaces a mask", "refused": "causal and a mask are refused together"},
    "combined_bias": {
        "and": "causal holds with a bias too", "bias-alone": "a bias replaces causal", "causal-alone": "causal replaces a bias",
        "refused": "causal and a bias are refused together"},
    "bias": {"after-scale": "the bias is added to the scaled scores", "before-scale": "the bias is scaled with the scores"},
    "empty": {
        "zero": "a query that sees no key gives 0", "nan": "a query that sees no key gives NaN",
        "mean": "a query that sees no key gives the mean of the values, with sinks 0",
        "unmasked": "a query that sees no key sees all keys"},
    "window": {
        "besides": "window=(left, right) counts keys besides the query's own", "including": "left and right count the query's own key",
        "one-more": "one key more than asked on each side that is bounded",
        "top-left": "positions of queries are counted from the first key",
        "needs-causal": "a window has an effect only together with causal"},
    "softcap": {"before-bias": "the cap comes before the bias", "after-bias": "the cap comes after the bias"},
    "sinks": {
        "denominator": "a sink adds exp(sink) to the denominator", "scaled": "sinks are multiplied by the scale",
        "twice": "a sink is counted twice"},
    "dtype": {
        "same": "outputs have the dtype of the inputs", "float32": "outputs are float32, whatever the inputs are",
        "float64": "outputs are float64, whatever the inputs are"},
    "lse": {"e": "the log-sum-exp is natural", "2": "the log-sum-exp is in base 2", "10": "the log-sum-exp is in base 10"},
}
OURS: dict[str, str] = {question: next(iter(words)) for question, words in QUESTIONS.items()}
PRESETS: dict[str, dict[str, str]] = {
    "torch": {"causal": "top-left", "combined": "refused", "combined_bias": "refused"},
    "jax": {"layout": "BTHD", "causal": "top-left", "empty": "mean", "window": "top-left"},
    "onnx": {"causal": "top-left"},
    "mlx": {"empty": "mean", "combined": "refused", "combined_bias": "refused"},
    "transformers": {"layout": "BHTD->BTHD", "causal": "top-left-unless-one", "combined": "mask-alone", "combined_bias": "bias-alone"},
    "flash-attn": {"layout": "BTHD"},
    "fla": {"layout": "BTHD", "window": "needs-causal"},
}


def dialect_of(given: str | Mapping[str, str] | None) -> dict[str, str]:
    """Returns the word for each question: tinyattn's own, changed by the name of a preset or by words.

    Raises:
        ValueError: a preset, a question or a word that does not exist; the message names the nearest ones. TypeError:
            anything but a string, a mapping or None.

    >>> dialect_of({"causal": "top-left"})["causal"], dialect_of("jax")["layout"]
    ('top-left', 'BTHD')
    """
    if given is None:
        return dict(OURS)
    if isinstance(given, str):
        return OURS | PRESETS[known_word("dialect", given, PRESETS)]
    if not isinstance(given, Mapping):
        raise TypeError(f"dialect: expected questions with their words, or one of {', '.join(PRESETS)}, got {type(given).__name__}")
    for question, word in given.items():
        known_word("dialect", question, QUESTIONS)
        known_word(f"dialect[{question!r}]", word, QUESTIONS[question])
    return OURS | dict(given)


def known_word(name: str, word: Any, words: Mapping[str, Any]) -> str:
    """Returns a word that exists; otherwise raises a ValueError that names similar words."""
    if word in words:
        return str(word)
    near = difflib.get_close_matches(str(word), list(words), n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"{name}: expected one of {', '.join(words)}, got {word!r}{hint}")


def visible(dialect: Mapping[str, str], shape: tuple[int, ...], causal: bool, window: Any, mask: Array | None) -> Array:
    """Returns which query sees which key, (..., heads, q_len, kv_len), in a dialect."""
    q_len, kv_len = shape[-2:]
    rows, keys = np.arange(q_len)[:, None], np.arange(kv_len)
    aligned, first = rows + (kv_len - q_len), rows
    at = aligned if dialect["causal"] in ("bottom-right", "strict", "reversed") else first
    seen = np.broadcast_to(True, shape)
    if causal and not (mask is not None and dialect["combined"] == "mask-alone"):
        if dialect["causal"] == "strict":
            seen = seen & (keys < at)
        elif dialect["causal"] == "reversed":
            seen = seen & (keys >= at)
        elif dialect["causal"] != "top-left-unless-one" or q_len != 1:
            seen = seen & (keys <= at)
    if window is not None and (causal or dialect["window"] != "needs-causal"):
        at = first if dialect["window"] == "top-left" else aligned
        longer = {"including": -1, "one-more": 1}.get(dialect["window"], 0)
        left, right = (None if side is None else side + longer for side in window)
        if left is not None:
            seen = seen & (keys >= at - left)
        if right is not None:
            seen = seen & (keys <= at + right)
    if mask is not None and dialect["mask"] != "added" and not (causal and dialect["combined"] == "causal-alone"):
        seen = seen & (~mask if dialect["mask"] == "hides" else mask)
    return np.array(seen)


def default_scale(dialect: Mapping[str, str], head_dim: int) -> float:
    """Returns the scale of the scores where none is given."""
    root = head_dim ** -0.5
    return {"1/sqrt(d)": root, "1": 1.0, "1/d": root * root, "1/d**0.25": root ** 0.5,
            "log2(e)/sqrt(d)": root * math.log2(math.e)}[dialect["scale"]]


def scale_of(dialect: Mapping[str, str], head_dim: int, scale: float | None) -> float:
    """Returns the factor of the scores."""
    own = default_scale(dialect, head_dim)
    return own if scale is None else {"replaces": scale, "multiplies": own * scale, "divides": 1.0 / scale}[dialect["scale_option"]]


def head_order(dialect: Mapping[str, str], heads: int, kv_heads: int) -> Array | None:
    """Returns which kv head each query head reads, None for blocks."""
    if dialect["groups"] == "blocks":
        return None
    return np.arange(heads) % kv_heads if dialect["groups"] == "tiled" else np.zeros(heads, np.int64)


def spoken(dialect: Mapping[str, str], core: Mechanism) -> Mechanism:
    """Returns attention in a dialect: `core`, the definition or an honest run of it, on translated arguments.

    >>> from tinyattn.definitions import attention
    >>> q, v = np.zeros((1, 2, 4)), np.array([[[1.0], [2.0], [3.0]]])
    >>> spoken(dialect_of({"causal": "top-left"}), attention)(q, np.zeros((1, 3, 4)), v, causal=True).ravel()
    array([1. , 1.5])
    """
    def speak(q: Any, k: Any, v: Any, *, mask: Array | None = None, bias: Any = None, causal: bool = False, window: Any = None,
              scale: float | None = None, softcap: float | None = None, sinks: Any = None) -> Any:
        full = (*q.shape[:-1], k.shape[-2])
        if causal and bias is not None:
            causal, bias = dialect["combined_bias"] != "bias-alone", None if dialect["combined_bias"] == "causal-alone" else bias
        seen = visible(dialect, full, causal, window, mask)
        factor = scale_of(dialect, q.shape[-1], scale)
        order = head_order(dialect, q.shape[-3], k.shape[-3])
        if order is not None:
            k, v = k[..., order, :, :], v[..., order, :, :]
        if mask is not None and dialect["mask"] == "added":
            ones = mask.astype(q.dtype)
            bias = ones if bias is None else bias + ones
        if bias is not None and dialect["bias"] == "before-scale":
            bias = bias * factor
        if sinks is not None and dialect["sinks"] != "denominator":
            sinks = sinks * factor if dialect["sinks"] == "scaled" else sinks + math.log(2.0)
        if bias is not None and softcap is not None and dialect["softcap"] == "after-bias":
            q, k, v, bias, factor = biased_keys(q, k, v, bias, factor)
        out = core(q, k, v, mask=seen, bias=bias, scale=factor, softcap=softcap, sinks=sinks)
        return filled(dialect, out, seen, core, (q, k, v), {"bias": bias, "scale": factor, "softcap": softcap, "sinks": sinks})

    return speak


def biased_keys(q: Any, k: Any, v: Any, bias: Any, scale: float) -> tuple[Any, Any, Any, None, float]:
    """Returns arguments in which the bias is part of the products: one channel per query, which is 1 for that query alone."""
    heads, q_len = q.shape[-3:-1]
    k, v = (np.repeat(x, heads // x.shape[-3], axis=-3) for x in (k, v))
    unit = np.broadcast_to(np.eye(q_len, dtype=q.dtype), (*q.shape[:-1], q_len))
    columns = np.swapaxes(np.broadcast_to(bias, (*q.shape[:-1], k.shape[-2])), -1, -2)
    return np.concatenate((q * scale, unit), axis=-1), np.concatenate((k, columns), axis=-1), v, None, 1.0


def filled(dialect: Mapping[str, str], out: Any, seen: Array, core: Mechanism, arrays: tuple[Any, Any, Any],
           options: dict[str, Any]) -> Any:
    """Returns the outputs with what the dialect gives for a query that sees no key, and with the lse in its base."""
    empty = ~seen.any(axis=-1, keepdims=True)
    lse = None
    if isinstance(out, tuple):
        out, lse = out
        lse = lse / {"e": 1.0, "2": math.log(2.0), "10": math.log(10.0)}[dialect["lse"]]
    if empty.any() and dialect["empty"] != "zero" and not (dialect["empty"] == "mean" and options["sinks"] is not None):
        q, k, v = arrays
        if dialect["empty"] == "nan":
            instead = np.full((), np.nan, out.dtype)
        elif dialect["empty"] == "mean":
            instead = np.repeat(np.mean(v, axis=-2, keepdims=True), q.shape[-3] // v.shape[-3], axis=-3)
        else:
            whole = core(q, k, v, mask=None, **options)
            instead = whole[0] if isinstance(whole, tuple) else whole
        out = np.where(empty, instead, out)
    return out if lse is None else (out, lse)
