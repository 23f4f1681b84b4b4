"""Wrong twins of the schemes, each a fault that a library of the field had, die by the laws."""

import importlib
import inspect
import types

import numpy as np
import pytest
from sharded import on_ranks, spent

from tinyattn.laws.problem import Problem
from tinyattn.ops import masks
from tinyattn.parallel import contiguous, zigzag


def twin(module, *changes):
    """Returns a module whose source has each (old, new) replaced once."""
    source = inspect.getsource(module)
    for old, new in changes:
        assert source.count(old) == 1, (module.__name__, old, source.count(old))
        source = source.replace(old, new)
    made = types.ModuleType("twin")
    made.__dict__["__name__"] = module.__name__
    exec(compile(source, module.__name__, "exec"), made.__dict__)
    return made


def problem(**options):
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((1, heads, 12, 4)) for heads in (4, 2, 2))
    return Problem(q, k, v, options)


DOCUMENTS = masks.documents(np.repeat([0, 1, 2], [5, 3, 4]))
RING = importlib.import_module("tinyattn.parallel.ring")
PART = importlib.import_module("tinyattn.parallel.part")
HOME = "            sums = home\n"
TWINS = {
    "the backward reads the keys of the first step in every step": (RING, {}, [
        ("            sums = d_keys\n            keys, values = coming or (keys, values)\n", "            sums = d_keys\n")], contiguous(12, 3)),
    "the sink is counted by every part": (RING, {"sinks": np.array([0.5, 1.0, -1.0, 2.0])}, [
        ("seen, rule)\n                before = parts[own]", "seen, rule)\n                part = with_sinks(*part, sinks)\n                before = parts[own]"),
        ("        out, lse = with_sinks(out, lse, sinks)\n", "")], contiguous(12, 3)),
    "zigzag has the masks of contiguous shards": (RING, {"causal": True}, [
        ("            seen = sees(rule, queries, keys)\n",
         "            seen = sees(rule, (3 * (2 * rank + own), 3 * (2 * rank + own) + 3), (keys[0] // 6 * 3 + 6 * source, keys[0] // 6 * 3 + 6 * source + 3))\n")],
        zigzag(12, 2)),
    "documents are those of the shard's own positions": (PART, {"mask": DOCUMENTS}, [
        ("    if not i0 and not j0:\n", "    if True:\n")], contiguous(12, 3)),
    "gradients are not sent home": (RING, {}, [(HOME, "")], contiguous(12, 3)),
    "the gradients of other ranks' queries are lost": (RING, {}, [("                whole += part\n            sums", "                pass\n            sums")], zigzag(12, 2)),
    "a row that sees no key has a log-sum-exp of +inf": (RING, {"mask": ~masks.first(12)}, [
        ("np.full(q.shape[:-1], -np.inf)", "np.full(q.shape[:-1], np.inf)")], contiguous(12, 3)),
    "a window is counted within the shard": (RING, {"window": (3, 0)}, [
        ("            seen = sees(rule, queries, keys)\n", "            seen = sees(rule, queries, keys) if rank == source else None\n")], contiguous(12, 3)),
    "the cap has no slope": (PART, {"softcap": 0.7}, [("        if tanh is not None:\n            d_scores", "        if False:\n            d_scores")], zigzag(12, 2)),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_twin_dies_and_the_original_lives(name, monkeypatch):
    module, options, changes, layout = TWINS[name]
    p, rng = problem(**options), np.random.default_rng(0)
    assert spent(p, on_ranks(RING.ring_attention_with_lse, p, layout), rng) <= 1.0
    made = twin(module, *changes)
    if module is PART:
        for used in ("attend", "gradients", "sees"):
            monkeypatch.setattr(RING, used, getattr(made, used))
        wrong = RING.ring_attention_with_lse
    else:
        wrong = made.ring_attention_with_lse
    with np.errstate(all="ignore"):
        assert spent(p, on_ranks(wrong, p, layout), rng) > 10.0
