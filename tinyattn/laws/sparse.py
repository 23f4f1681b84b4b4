"""Laws of sparse attention: what is compared when tables are cut or merged, texts reversed, keys hidden or left out."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions
from tinyattn.laws.draw.sparse import pairs_of_blocks, rotations, with_gates
from tinyattn.laws.law import outputs, plain
from tinyattn.laws.oracles.sparse import unit_keys
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.merge import merge
from tinyattn.ops.types import Array


def each_head_for_all(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns each head's output from the call in which all heads have its window."""
    outs = [outputs(p.but(window=w).call(f))[0][..., h : h + 1, :, :] for h, w in enumerate(p.options["window"])]
    return (np.concatenate(outs, axis=-3),)


def cut_finer(p: Problem) -> Problem:
    """Returns the problem with its table written for blocks of one query and one key."""
    return p.but(blocks=pairs_of_blocks(p, p.options["blocks"]), q_block=1, kv_block=1)


def two_tables(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the results of two tables without a block in common, merged."""
    blocks = p.options["blocks"]
    some = np.indices(blocks.shape[-2:]).sum(axis=0) % 2 == 0
    rest = {name: p.options[name] for name in ("scale", "causal") if name in p.options}
    parts = [definitions.attention_with_lse(p.q, p.k, p.v, mask=pairs_of_blocks(p, blocks & half), **rest) for half in (some, ~some)]
    return (merge(*parts)[0],)


def others_poisoned(p: Problem) -> Problem:
    """Returns the problem with NaN in q of the global tokens and in q_global of all others."""
    places = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None]
    chosen, nan = np.isin(places, p.options["global_tokens"]), p.q.dtype.type(np.nan)
    return p.but(q=np.where(chosen, nan, p.q), q_global=np.where(chosen, p.options["q_global"], nan))


def reversed_text(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for the reversed text, reversed again."""
    last = p.k.shape[-2] - 1
    tokens = [last - g for g in p.options["global_tokens"] if g <= last]
    return (plain(f, p.tokens(slice(None, None, -1)).but(global_tokens=tokens))[0][..., ::-1, :],)


def first_half(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of the heads that are not shifted."""
    return (plain(f, p)[0][..., : p.q.shape[-3] // 2, :, :],)


def second_half(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of the heads that are shifted."""
    return (plain(f, p)[0][..., p.q.shape[-3] // 2 :, :, :],)


def bound(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the largest value, plus twice that times the weight left out."""
    weights = definitions.attention_weights(p.q, p.k, scale=p.options["scale"])
    left_out = 1.0 - np.sort(weights, axis=-1)[..., -p.options["keep"]:].sum(axis=-1, keepdims=True)
    return (np.abs(p.v).max() * (1.0 + 2.0 * left_out),)


def excess(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the largest value plus the error against attention, or the bound if that is more."""
    error = np.abs(plain(f, p)[0] - definitions.attention(p.q, p.k, p.v, scale=p.options["scale"])).max(axis=-1, keepdims=True)
    return (np.maximum(np.abs(p.v).max() + error, bound(f, p)[0]),)


def errors_fall(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns whether the mean error against attention falls from 1 to 4 to 16 hashes, over four draws of rotations."""
    rng, errors = np.random.default_rng(p.options["chunk"]), []
    exact = unit_keys(p.q, p.k, p.v, rotations=p.q, chunk=0)
    for hashes in (1, 4, 16):
        outs = [p.call(f, rotations=rotations(hashes)(rng, p)) for _ in range(4)]
        errors.append(np.mean([np.mean((out - exact) ** 2) for out in outs]))
    return (np.diff(errors) < 0,)


def three_attentions(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the sum of the three attentions, each computed alone and multiplied by its gate."""
    parts = [plain(f, with_gates(*row)(p))[0] for row in np.eye(3)]
    return (sum(p.options["gates"][..., n : n + 1] * part for n, part in enumerate(parts)),)


def sum_of_open_gates(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the sum of the gates of the attentions that see a key: no block has a mean before it is complete."""
    places = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None]
    seen = np.concatenate((places + 1 >= p.options["block"], places >= 0, places >= 0), axis=-1)
    return (np.repeat(np.sum(p.options["gates"] * seen, axis=-1, keepdims=True), p.v.shape[-1], axis=-1),)
