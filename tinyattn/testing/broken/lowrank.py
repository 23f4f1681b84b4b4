"""Faults in projections and landmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.definitions import attention, attention_weights
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.testing.broken.gradient import stopped
from tinyattn.testing.broken.twin import twin

LINFORMER, NYSTROM = "linformer_attention", "nystrom_attention"


@twin("equals_weights_on_tokens", row=LINFORMER)
def values_by_the_keys_projection(f: Mechanism, p: Problem) -> Any:
    """The projection of the keys is used for the values too, in a checkpoint that has two."""
    return p.but(project_v=p.options["project_k"]).call(f)


@twin("equals_attention_to_all", "equals_attention_to_some", row=LINFORMER)
def keys_shrunk_by_the_rank(f: Mechanism, p: Problem) -> Any:
    """The projection is divided by the root of its rank once more than when it was drawn."""
    return p.but(project_k=p.options["project_k"] * p.options["project_k"].shape[-2] ** -0.5).astype(p.q.dtype).call(f)


@twin("mixtures_have_no_order", "equals_attention_to_all", row=LINFORMER)
def mixtures_masked_as_tokens(f: Mechanism, p: Problem) -> Any:
    """A causal mask is applied to the projected keys, as if each were a token."""
    e, g = p.options["project_k"], p.options["project_v"]
    seen = np.arange(e.shape[-2]) <= np.arange(p.q.shape[-2])[:, None]
    return attention(p.q, e @ p.k, g @ p.v, mask=seen, scale=p.options.get("scale"))


@twin("gradients_equal_weights_on_tokens", row=LINFORMER)
def projections_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The projections are stored as constants, so that they have no gradient."""
    return p.but(**{name: stopped(p.options[name]) for name in ("project_k", "project_v")}).call(f)


Change = Callable[[Any], Any]


def by_landmarks(p: Problem, *, pick: Change, start: Change, held: Change = lambda z: z) -> Any:
    """Returns landmark attention with the given choice of landmarks, start of the iteration and inverse."""
    count, scale = p.options["landmarks"], p.options.get("scale")
    few_q, few_k = (pick(x.reshape(*x.shape[:-2], count, -1, x.shape[-1])) for x in (p.q, p.k))
    a = attention_weights(few_q, few_k, scale=scale)
    eye, z = np.eye(count, dtype=p.q.dtype), start(a)
    for _ in range(p.options.get("iterations", 6)):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return attention_weights(p.q, few_k, scale=scale) @ (held(z) @ attention(few_q, p.k, p.v, scale=scale))


def mean(x: Any) -> Any:
    """Returns the mean of each segment."""
    return np.mean(x, axis=-2)


def alone(a: Any) -> Any:
    """Returns A^T divided by its largest column sum, one number per matrix."""
    return a.mT / np.max(np.sum(a, axis=-2, keepdims=True), axis=-1, keepdims=True)


@twin("a_sequence_alone", row=NYSTROM)
def start_of_the_batch(f: Mechanism, p: Problem) -> Any:
    """The iteration starts from A^T divided by the largest column sum of the whole batch: sequences affect each other."""
    return by_landmarks(p, pick=mean, start=lambda a: a.mT / np.max(np.sum(a, axis=-2)))


@twin("equals_inverse", "equals_attention_to_all", row=NYSTROM)
def stopped_too_early(f: Mechanism, p: Problem) -> Any:
    """Two iterations are made, which are too few to invert any matrix."""
    return p.but(iterations=2).call(f)


@twin("within_a_segment_keys_have_no_order", "equals_mean_query", "equals_inverse", row=NYSTROM)
def landmarks_picked(f: Mechanism, p: Problem) -> Any:
    """The first token of a segment is its landmark, instead of the mean."""
    return by_landmarks(p, pick=lambda x: x[..., 0, :], start=alone)


@twin("gradients_equal_inverse", row=NYSTROM)
def inverse_without_a_gradient(f: Mechanism, p: Problem) -> Any:
    """The iteration runs without a graph to save memory, and the inverse has no gradient."""
    return by_landmarks(p, pick=mean, start=alone, held=stopped)
