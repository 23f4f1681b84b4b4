"""Wrong projections and wrong landmarks."""

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
    """One projection serves both, in a checkpoint that has two."""
    return p.but(project_v=p.options["project_k"]).call(f)


@twin("equals_attention_to_all", "equals_attention_to_some", row=LINFORMER)
def keys_shrunk_by_the_rank(f: Mechanism, p: Problem) -> Any:
    """The projection is divided by the root of its rank, as when it was drawn, and then again."""
    return p.but(project_k=p.options["project_k"] * p.options["project_k"].shape[-2] ** -0.5).astype(p.q.dtype).call(f)


@twin("mixtures_have_no_order", "equals_attention_to_all", row=LINFORMER)
def mixtures_masked_as_tokens(f: Mechanism, p: Problem) -> Any:
    """A causal mask over the mixtures, as if each were a token."""
    e, g = p.options["project_k"], p.options["project_v"]
    seen = np.arange(e.shape[-2]) <= np.arange(p.q.shape[-2])[:, None]
    return attention(p.q, e @ p.k, g @ p.v, mask=seen, scale=p.options.get("scale"))


@twin("gradients_equal_weights_on_tokens", row=LINFORMER)
def projections_do_not_learn(f: Mechanism, p: Problem) -> Any:
    """The projections are buffers, and no parameters."""
    return p.but(**{name: stopped(p.options[name]) for name in ("project_k", "project_v")}).call(f)


Change = Callable[[Any], Any]


def by_landmarks(p: Problem, *, pick: Change, start: Change, held: Change = lambda z: z) -> Any:
    """Landmark attention with its segments' stand-ins, its iteration's start and its inverse as given."""
    count, scale = p.options["landmarks"], p.options.get("scale")
    few_q, few_k = (pick(x.reshape(*x.shape[:-2], count, -1, x.shape[-1])) for x in (p.q, p.k))
    a = attention_weights(few_q, few_k, scale=scale)
    eye, z = np.eye(count, dtype=p.q.dtype), start(a)
    for _ in range(p.options.get("iterations", 6)):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return attention_weights(p.q, few_k, scale=scale) @ (held(z) @ attention(few_q, p.k, p.v, scale=scale))


def mean(x: Any) -> Any:
    """A segment's mean."""
    return np.mean(x, axis=-2)


def alone(a: Any) -> Any:
    """A^T by its largest column sum: rows add up to 1."""
    return a.mT / np.max(np.sum(a, axis=-2, keepdims=True), axis=-1, keepdims=True)


@twin("a_sequence_alone", row=NYSTROM)
def start_of_the_batch(f: Mechanism, p: Problem) -> Any:
    """The iteration starts from A^T by the largest column sum of the whole batch: every answer depends on its neighbours."""
    return by_landmarks(p, pick=mean, start=lambda a: a.mT / np.max(np.sum(a, axis=-2)))


@twin("equals_inverse", "equals_attention_to_all", row=NYSTROM)
def stopped_too_early(f: Mechanism, p: Problem) -> Any:
    """Two iterations, which are enough for no matrix."""
    return p.but(iterations=2).call(f)


@twin("within_a_segment_keys_have_no_order", "equals_mean_query", "equals_inverse", row=NYSTROM)
def landmarks_picked(f: Mechanism, p: Problem) -> Any:
    """A segment's first token stands for it, where its mean should."""
    return by_landmarks(p, pick=lambda x: x[..., 0, :], start=alone)


@twin("gradients_equal_inverse", row=NYSTROM)
def inverse_without_a_gradient(f: Mechanism, p: Problem) -> Any:
    """The iteration runs without a graph, to save memory, and the inverse is a constant."""
    return by_landmarks(p, pick=mean, start=alone, held=stopped)
