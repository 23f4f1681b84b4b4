"""Disentangled attention (DeBERTa): scores from content with content, and from each side's content with a vector of the distance."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_scale, check_sinks, visible_keys
from tinyattn.ops.relation_arguments import at_rows, check_distance
from tinyattn.ops.scores import scores_from, scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def disentangled_attention(q: Array, k: Array, v: Array, *, q_relative: Array | None = None, k_relative: Array | None = None,
                           distance: Array, mask: Array | Pattern | None = None, bias: Array | Bias | None = None,
                           causal: bool = False, window: Window | None = None, scale: float | None = None,
                           softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention whose scores add the products of the query and of the key with learned vectors of their distance.

    Formula: s_ij = cap(scale (q_i . k_j + q_i . k_relative[n_ij] + k_j . q_relative[n_ij])) + bias_ij, n = distance,
    scale = (terms d)^-1/2. terms is 1 plus the number of tables given: a term without a table is left out.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), q_relative and k_relative (heads, rows, d),
    distance (i, j) of integers -> (..., heads, i, e).

    Options: DeBERTa has n_ij = clip(i - j + span, 0, 2 span - 1); its second version has a logarithmic bucket in place of i - j. As
    in its code, both terms read the same n_ij; the paper has n_ji in the term of the key. The others are those of `attention`.

    Raises:
        TypeError, ValueError: a table of another shape, a distance that is not (i, j) row numbers of the tables; otherwise as
            `attention`.

    Paper: He et al. 2020, arXiv:2006.03654.

    >>> import numpy as np
    >>> q, k, v = np.ones((1, 1)), np.zeros((2, 1)), np.array([[1.0], [3.0]])
    >>> table = np.array([[[0.0], [2.0 ** 0.5 * np.log(3.0)]]])
    >>> disentangled_attention(q, k, v, k_relative=table, distance=np.array([[0, 1]]))
    array([[2.5]])
    """
    distance, tables = check_distance(distance, {"q_relative": q_relative, "k_relative": k_relative}, q, k.shape[-2])
    scale = check_scale(scale, (1 + len(tables)) * q.shape[-1])
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    products = scores_of(q, k, scale=scale)
    if "k_relative" in tables:
        products = products + at_rows((q * scale) @ tables["k_relative"].mT, distance)
    if "q_relative" in tables:
        by_group = split_group(tables["q_relative"] * scale, k.shape[-3])
        of_keys = (k[..., None, :, :] @ by_group.mT).reshape(*q.shape[:-2], k.shape[-2], by_group.shape[-2])  # (..., heads, j, rows)
        products = products + at_rows(of_keys, distance.T).mT
    scores = scores_from(products, softcap, None, bias, visible)
    exps, total, _ = exponentials(scores, check_sinks(sinks, q.shape[-3], q.dtype))
    return weighted_values(exps, v) / nonzero(total)
