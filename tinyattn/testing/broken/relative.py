"""Faults in attention that scores how tokens relate: cosines, mixtures of heads, tables of distances, directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions import attention, decomposed_position_bias
from tinyattn.laws.oracles.relative import pair_by_pair, read_by, sums_of_gates
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.ops.norm import unit
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

COSINE, TALKING, RELATIVE = "cosine_attention", "talking_heads_attention", "relative_position_attention"
DISENTANGLED, CELLS, PATH = "disentangled_attention", "decomposed_position_bias", "path_attention"


def scaled(p: Problem, log_scale: Any, norm: Any = unit) -> Any:
    """Returns attention to the products of normalised vectors, times a scale per head."""
    options = {name: option for name, option in p.options.items() if name != "log_scale"}
    return attention(norm(p.q) * np.exp(log_scale)[:, None, None], norm(p.k), p.v, **{**options, "scale": 1.0})


@twin("a_scale_stops_at_100", "equals_angles", row=COSINE)
def scale_without_a_limit(f: Mechanism, p: Problem) -> Any:
    """The scale is not held at 100."""
    return scaled(p, p.options["log_scale"])


@twin("gradients_equal_angles", row=COSINE)
def slope_above_the_limit(f: Mechanism, p: Problem) -> Any:
    """The limit of the scale is taken for a rounding: a scale above it still has a gradient, and grows on."""
    log_scale = p.options["log_scale"]
    return scaled(p, log_scale + stopped(np.minimum(log_scale, np.log(100.0).astype(log_scale.dtype)) - log_scale))


@twin("equals_qk_norm_attention", "equals_angles", row=COSINE)
def cosines_scaled_again(f: Mechanism, p: Problem) -> Any:
    """The cosines are divided by the root of head_dim too."""
    return scaled(p, np.minimum(p.options["log_scale"], np.log(100.0)).astype(p.q.dtype) - np.log(p.q.dtype.type(p.q.shape[-1])) / 2)


@twin("vectors_have_no_length", "equals_angles", row=COSINE)
def epsilon_under_the_root(f: Mechanism, p: Problem) -> Any:
    """1e-6 is added to the square of a length, so that short vectors give smaller cosines."""
    def norm(x: Any) -> Any:
        return x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + x.dtype.type(1e-6))

    return scaled(p, np.minimum(p.options["log_scale"], np.log(100.0)).astype(p.q.dtype), norm)


@twin("equals_heads_one_by_one", "equals_attention_of_moved_heads", row=TALKING)
def mixtures_read_by_columns(f: Mechanism, p: Problem) -> Any:
    """A column of the first matrix is read as the new head's, as a matrix product from the right does."""
    return p.but(before=np.swapaxes(p.options["before"], -1, -2)).call(f)


@twin("equals_heads_one_by_one", row=TALKING)
def mixtures_exchanged(f: Mechanism, p: Problem) -> Any:
    """The matrix of the weights is applied to the scores, and that of the scores to the weights."""
    return p.but(before=p.options["after"], after=p.options["before"]).call(f)


@twin("equals_heads_one_by_one", row=TALKING)
def masked_before_the_mixture(f: Mechanism, p: Problem) -> Any:
    """Hidden scores are -inf before they are mixed: with weights of both signs, or of 0, the sum is NaN."""
    with np.errstate(invalid="ignore"):
        hidden = np.where(p.visible(), 0.0, -np.inf)[..., None, :, :, :] * p.options["before"][:, :, None, None]
        bias = np.sum(hidden, axis=-3).astype(p.q.dtype)
    given = p.options.get("bias")
    return p.but(bias=bias if given is None else bias + given).call(f)


@twin("gradients_equal_heads_one_by_one", row=TALKING)
def weights_mixed_by_a_constant(f: Mechanism, p: Problem) -> Any:
    """The second matrix is kept as a buffer, which has no gradient."""
    return p.but(after=stopped(p.options["after"])).call(f)


@twin("equals_attention", row=TALKING)
def a_third_mixture_of_outputs(f: Mechanism, p: Problem) -> Any:
    """The outputs of neighbouring heads are mixed once more, by the projection of another layer."""
    out = p.call(f)
    return out + np.roll(out, 1, axis=-3) * out.dtype.type(0.01)


@twin("equals_distances_one_by_one", row=RELATIVE)
def shifted_by_a_distance_more(f: Mechanism, p: Problem) -> Any:
    """The shift pads on the wrong side: every pair reads the row of the distance that is larger by one."""
    return p.but(relative=np.roll(p.options["relative"], 1, axis=-2)).call(f)


@twin("equals_distances_one_by_one", row=RELATIVE)
def one_vector_for_both_products(f: Mechanism, p: Problem) -> Any:
    """The vector of the content is added to the query of the distance too."""
    return p.but(w=p.options["u"]).call(f)


@twin("equals_distances_one_by_one", row=RELATIVE)
def distances_not_scaled(f: Mechanism, p: Problem) -> Any:
    """Only the product with the key is scaled."""
    return p.but(relative=p.options["relative"] / p.q.dtype.type(p.scale)).call(f)


@twin("a_causal_table_ends_at_distance_0", row=RELATIVE)
def rows_counted_from_the_end(f: Mechanism, p: Problem) -> Any:
    """The last rows of a table that is longer than needed are read instead of the first."""
    table = p.options["relative"]
    return p.but(relative=table[:, table.shape[1] - p.k.shape[-2] :]).call(f) if p.options.get("causal") else p.call(f)


@twin("gradients_equal_distances_one_by_one", row=RELATIVE)
def sinusoids_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The table is taken for the sinusoids alone, which have no gradient, although a projection has made it."""
    return p.but(relative=stopped(p.options["relative"])).call(f)


@twin("equals_attention", row=RELATIVE)
def scale_counts_the_terms(f: Mechanism, p: Problem) -> Any:
    """The scale is (2 d)^-1/2, as there are two products."""
    return p.but(scale=p.scale * 0.5 ** 0.5).call(f)


@twin("equals_tables_pair_by_pair", row=DISENTANGLED)
def the_papers_second_distance(f: Mechanism, p: Problem) -> Any:
    """The term of the key reads the distance from the key to the query, as the paper writes and its code does not."""
    if p.options.get("q_relative") is None:
        return p.call(f)
    return p.but(q_relative=p.options["q_relative"][:, ::-1]).call(f)


@twin("equals_tables_pair_by_pair", "equals_relative_position_attention", row=DISENTANGLED)
def three_terms_whatever_there_is(f: Mechanism, p: Problem) -> Any:
    """The scale counts three terms even where a table is missing."""
    return p.but(scale=p.options.get("scale") or (3 * p.q.shape[-1]) ** -0.5).call(f)


@twin("equals_attention", "equals_tables_pair_by_pair", row=DISENTANGLED)
def scale_of_one_term(f: Mechanism, p: Problem) -> Any:
    """The scale is that of attention, d^-1/2."""
    return p.but(scale=p.scale).call(f)


@twin("gradients_equal_tables_pair_by_pair", row=DISENTANGLED)
def tables_shared_without_their_sum(f: Mechanism, p: Problem) -> Any:
    """One table of the layer serves both terms, and only the first of them adds to its gradient."""
    if p.options.get("q_relative") is None:
        return p.call(f)
    return p.but(q_relative=stopped(p.options["q_relative"])).call(f)


def placed(p: Problem, q: Any, **changes: Any) -> Any:
    """Returns attention with the bias that these queries and tables make."""
    tables = {name: p.options[name] for name in ("table_y", "table_x", "grid")}
    return attention(p.q, p.k, p.v, bias=decomposed_position_bias(q, **{**tables, **changes}), scale=p.options.get("scale"))


@twin("equals_cells_one_by_one", "equals_relative_position_attention", row=CELLS)
def queries_scaled_first(f: Mechanism, p: Problem) -> Any:
    """The bias is made of queries that are scaled already."""
    return placed(p, p.q * p.q.dtype.type(p.scale))


@twin("equals_cells_one_by_one", "equals_relative_position_attention", row=CELLS)
def from_key_to_query(f: Mechanism, p: Problem) -> Any:
    """The rows are those of the key's place minus the query's."""
    return placed(p, p.q, **{name: p.options[name][::-1] for name in ("table_y", "table_x")})


@twin("equals_cells_one_by_one", row=CELLS)
def columns_counted_first(f: Mechanism, p: Problem) -> Any:
    """The tokens of the image are taken to stand column by column."""
    rows, columns = p.options["grid"]
    order = np.arange(rows * columns).reshape(rows, columns).T.reshape(-1)
    bias = decomposed_position_bias(p.q[..., np.argsort(order), :], **{n: p.options[n] for n in ("table_y", "table_x", "grid")})
    return attention(p.q, p.k, p.v, bias=bias[..., order, :][..., order], scale=p.options.get("scale"))


@twin("gradients_equal_cells_one_by_one", row=CELLS)
def one_side_learns(f: Mechanism, p: Problem) -> Any:
    """The table of the columns is interpolated to another size, which is done without a gradient."""
    return placed(p, p.q, table_x=stopped(p.options["table_x"]))


@twin("equals_attention", row=CELLS)
def scale_in_the_bias_branch(f: Mechanism, p: Problem) -> Any:
    """Where there is a bias the product with the key is not scaled, as the branch with the bias leaves the scale out."""
    return p.but(scale=1.0).call(f)


def on_the_way(i: int, j: int) -> range:
    """Returns the tokens that reflect query i on its way to key j, in their order."""
    return range(i, j, -1)


def reflected(p: Problem, order: Any = on_the_way, gates: Any = None) -> Any:
    """Returns causal attention whose queries meet the reflections of the tokens order(i, j), with these sums of the log gates."""
    keys, directions = repeat_heads(p.q, p.k, p.options["w"])
    strengths = repeat_heads(p.q, p.options["beta"][..., None])[0]
    more = p.k.shape[-2] - p.q.shape[-2]

    def score(i: int, j: int) -> Any:
        query = p.q[..., i, :] * p.scale
        for token in order(i + more, j):
            along = strengths[..., token, :] * np.sum(directions[..., token, :] * query, axis=-1, keepdims=True)
            query = query - along * directions[..., token, :]
        return np.sum(query * keys[..., j, :], axis=-1)

    gates = sums_of_gates(p.q, p.k, p.options.get("log_forget")) if gates is None else gates
    return read_by(p.q, p.k, p.v, pair_by_pair(p.q, p.k, score), bias=gates.astype(p.q.dtype), causal=True)


@twin("equals_reflections_one_by_one", "equals_reflections_at_once", row=PATH)
def nearest_key_first(f: Mechanism, p: Problem) -> Any:
    """The query meets the reflection of the token after the key first, and its own token's last."""
    return reflected(p, lambda i, j: range(j + 1, i + 1))


@twin("equals_reflections_one_by_one", row=PATH)
def a_key_reflects_too(f: Mechanism, p: Problem) -> Any:
    """The token of the key reflects the query as well: a token does not meet its own key as it is."""
    return reflected(p, lambda i, j: range(i, j - 1, -1))


@twin("equals_forgetting_attention", "equals_reflections_one_by_one", row=PATH)
def gates_scaled_with_the_products(f: Mechanism, p: Problem) -> Any:
    """The sum of the log gates is added before the scale and is scaled with the products."""
    return reflected(p, gates=sums_of_gates(p.q, p.k, p.options.get("log_forget")) * p.scale)


@twin("equals_forgetting_attention", row=PATH)
def sums_from_the_start(f: Mechanism, p: Problem) -> Any:
    """Gates are differences of running sums from the first token on: after a gate of 0 they are inf - inf."""
    gates = p.options.get("log_forget")
    if gates is None:
        return p.call(f)
    sums = np.cumsum(gates, axis=-1)
    with np.errstate(invalid="ignore"):
        return reflected(p, gates=sums[..., p.k.shape[-2] - p.q.shape[-2] :, None] - sums[..., None, :])


@twin("gradients_equal_reflections_one_by_one", "gradients_equal_reflections_at_once", row=PATH)
def inverse_kept_for_the_backward(f: Mechanism, p: Problem) -> Any:
    """The inverse of a chunk's triangle is saved as a constant: the strengths have no gradient."""
    return p.but(beta=stopped(p.options["beta"])).call(f)
