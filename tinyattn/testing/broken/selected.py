"""Faults in choices: of scores, of hashes, of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import pairs
from tinyattn.laws.oracles.gathered import block_means
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.largest import largest
from tinyattn.ops.norm import unit
from tinyattn.testing.broken.gradient import slowed, stopped
from tinyattn.testing.broken.twin import twin

TOP, HASH, NATIVE, MIXTURE = "top_k_attention", "lsh_attention", "native_sparse_attention", "block_mixture_attention"


def before(p: Problem) -> Any:
    """Returns which keys are not later than each query."""
    return np.arange(p.k.shape[-2]) <= np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None]


def over(p: Problem, seen: Any) -> Any:
    """Returns attention to the visible keys."""
    return definitions.attention(p.q, p.k, p.v, mask=seen, scale=p.options.get("scale"))


def scores(p: Problem) -> Any:
    """Returns the scores of all pairs, -inf where they are hidden."""
    return np.where(p.visible(), pairs(p.q, p.k), -np.inf)


def open_to(p: Problem) -> bool:
    """Returns whether a problem has only options that these twins support."""
    return not {"bias", "sinks", "softcap"} & set(p.options) and bool(p.options.get("scale"))


@twin("equals_the_gathered_form", row=TOP)
def ties_all_kept(f: Mechanism, p: Problem) -> Any:
    """All scores equal to the k-th largest are kept, which may be more than k keys."""
    if not open_to(p):
        return p.call(f)
    found = scores(p)
    least = np.sort(found, axis=-1)[..., -min(p.options["keep"], found.shape[-1])][..., None]
    return over(p, p.visible() & (found >= least))


@twin("equals_the_best_value", row=TOP)
def last_of_ties_kept(f: Mechanism, p: Problem) -> Any:
    """Of equal scores the later key is kept."""
    if not open_to(p):
        return p.call(f)
    return over(p, p.visible() & largest(scores(p)[..., ::-1], p.options["keep"])[..., ::-1])


@twin("equals_attention", row=TOP)
def one_kept_too_few(f: Mechanism, p: Problem) -> Any:
    """The k-th score is a threshold, and only scores above it are kept."""
    return p.but(keep=max(1, min(p.options["keep"], p.k.shape[-2]) - 1)).call(f)


@twin("hidden_keys_take_no_place", "later_tokens_change_nothing_earlier", "cached_is_full", row=TOP)
def chosen_before_hiding(f: Mechanism, p: Problem) -> Any:
    """The largest scores are chosen before the mask is applied: hidden keys take places."""
    return over(p, p.visible() & largest(pairs(p.q, p.k), p.options["keep"])) if open_to(p) else p.call(f)


@twin("what_is_left_out_bounds_the_error", row=TOP)
def smallest_scores_kept(f: Mechanism, p: Problem) -> Any:
    """Scores are sorted upwards and cut at the wrong end."""
    return over(p, p.visible() & largest(-scores(p), p.options["keep"])) if open_to(p) else p.call(f)


@twin("gradients_equal_the_gathered_form", row=TOP)
def gradient_for_all_scores(f: Mechanism, p: Problem) -> Any:
    """The gradient of the whole softmax is given to keys that were not kept."""
    whole = p.but(keep=p.k.shape[-2]).call(f)
    return stopped(p.call(f)) + whole - stopped(whole)


@twin("equals_a_dense_mask", "more_hashes_err_less", row=HASH)
def one_hash_of_all(f: Mechanism, p: Problem) -> Any:
    """Only the first hash is used."""
    return p.but(rotations=p.options["rotations"][:1]).call(f)


@twin("equals_a_dense_mask", row=HASH)
def hashes_averaged(f: Mechanism, p: Problem) -> Any:
    """The results of the hashes are averaged, without their weights."""
    turns = p.options["rotations"]
    return sum(p.but(rotations=turns[n : n + 1]).call(f) for n in range(len(turns))) / len(turns)


@twin("a_hash_again_tells_nothing_new", row=HASH)
def hashes_added(f: Mechanism, p: Problem) -> Any:
    """The results of the hashes are summed and not divided."""
    return p.call(f) * p.q.dtype.type(len(p.options["rotations"]))


@twin("tokens_have_no_length", "equals_attention", row=HASH)
def queries_of_length_one(f: Mechanism, p: Problem) -> Any:
    """Queries are normalised to length 1 like the keys."""
    return p.but(q=unit(p.q)).call(f)


@twin("later_tokens_change_nothing_earlier", row=HASH)
def causal_by_sorted_place(f: Mechanism, p: Problem) -> Any:
    """Causality follows the order after sorting, in which no token is later."""
    return p.but(causal=False).call(f)


@twin("gradients_equal_a_dense_mask", row=HASH)
def key_gradient_forgotten(f: Mechanism, p: Problem) -> Any:
    """A token gets the gradient of its query and not that of its key."""
    return p.but(q=slowed(p.q, 0.5)).call(f)


@twin("later_tokens_change_nothing_earlier", "cached_is_full", row=NATIVE)
def unfinished_block_compressed(f: Mechanism, p: Problem) -> Any:
    """A query sees the mean of its own block, future tokens included."""
    size, gates = p.options["block"], p.options["gates"]
    own = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None] // size
    means = p.but(k=block_means(p.k, size), v=block_means(p.v, size))
    compressed = over(means, np.arange(p.k.shape[-2] // size) <= own)
    return p.but(gates=gates * np.array([0, 1, 1], gates.dtype)).call(f) + gates[..., :1] * compressed


@twin("gates_weigh_three_attentions", "equal_values_give_the_open_gates", row=NATIVE)
def gates_made_to_sum_to_one(f: Mechanism, p: Problem) -> Any:
    """The three gates are divided by their sum."""
    gates = p.options["gates"]
    return p.but(gates=gates / np.sum(gates, axis=-1, keepdims=True)).call(f)


@twin("equals_causal_attention", "equals_attention_to_means_of_one", "equals_a_window_alone", row=NATIVE)
def gates_in_another_order(f: Mechanism, p: Problem) -> Any:
    """The gates are read in the order window, compressed, selected."""
    return p.but(gates=p.options["gates"][..., [1, 2, 0]]).call(f)


@twin("equals_the_gathered_form", row=NATIVE)
def forced_blocks_not_counted(f: Mechanism, p: Problem) -> Any:
    """The query's own block is added to the selected ones instead of counting as one of them."""
    return p.but(selected=p.options["selected"] + 1).call(f)


@twin("equals_the_gathered_form", row=NATIVE)
def every_head_chooses_alone(f: Mechanism, p: Problem) -> Any:
    """The heads of a group select their blocks independently, and load different keys."""
    return p.repeated().call(f)


@twin("gradients_equal_the_gathered_form", row=NATIVE)
def gates_learn_nothing(f: Mechanism, p: Problem) -> Any:
    """The gates have no gradient."""
    return p.but(gates=stopped(p.options["gates"])).call(f)


@twin("equals_own_blocks", "equals_two_parts_merged", "equals_top_k_attention", row=MIXTURE)
def own_block_not_counted(f: Mechanism, p: Problem) -> Any:
    """The query's own block is added to those kept instead of counting as one of them."""
    return p.but(keep=p.options["keep"] + 1).call(f)


@twin("later_tokens_change_nothing_earlier", "cached_is_full", "equals_two_parts_merged", row=MIXTURE)
def future_blocks_scored(f: Mechanism, p: Problem) -> Any:
    """Future blocks are chosen too, and the causal mask then leaves fewer past ones."""
    size = p.options["block"]
    whole = np.pad(stopped(p.k), [(0, 0)] * (p.k.ndim - 2) + [(0, -p.k.shape[-2] % size), (0, 0)])
    own = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None] // size == np.arange(whole.shape[-2] // size)
    chosen = largest(np.where(own, np.inf, pairs(p.q, block_means(whole, size))), p.options["keep"])
    return over(p, before(p) & np.repeat(chosen, size, axis=-1)[..., : p.k.shape[-2]])


@twin("equals_causal_attention", "equals_attention_in_one_block", row=MIXTURE)
def own_block_open_to_its_end(f: Mechanism, p: Problem) -> Any:
    """Within its own block a query is not causal."""
    size, last = p.options["block"], p.k.shape[-2]
    own = np.arange(last - p.q.shape[-2], last)[:, None] // size == np.arange(last) // size
    return 0.5 * p.call(f) + 0.5 * over(p, before(p) | own)


@twin("gradients_equal_two_parts_merged", row=MIXTURE)
def merged_without_gradient(f: Mechanism, p: Problem) -> Any:
    """The weights that merge the parts have no gradient: keys learn too little."""
    return p.but(k=slowed(p.k, 0.5)).call(f)
