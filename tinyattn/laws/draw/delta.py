"""Problems of the delta rules beyond the gated one: read and write vectors, decays per channel, several steps per token."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.draw.linear import gated, with_decay
from tinyattn.laws.draw.options import but, given, uniform, with_options
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.norm import unit
from tinyattn.ops.types import Array


def directions(rng: np.random.Generator, p: Problem) -> Array:
    """Draws vectors of length 1, one per token and kv head."""
    return unit(np.asarray(rng.standard_normal(p.k.shape), p.k.dtype))


def halves(rng: np.random.Generator, p: Problem) -> Array:
    """Draws vectors of length 1/2: with such read and write vectors a state grows little over a hundred tokens."""
    return 0.5 * directions(rng, p)


shares = uniform(lambda p: p.k.shape)
KIMI = gated("beta", "log_decay", channels=True)
GENERAL = with_options(gated("log_decay", channels=True), read=halves, write=halves)
RWKV7 = with_options(gated("log_decay", channels=True), removal=directions, rate=shares)
# The gates of mechanisms that are choices of the generalized delta rule's arguments.
ERASING = with_options(gated("log_decay", channels=True), erase=shares, keep=uniform(lambda p: p.v.shape))
COMBA = with_options(gated("beta", "log_decay"), aside=directions)


def several(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws tokens of two or three steps, whose keys, values and strengths stand side by side in the last axis; strengths up to 2."""
    p, steps = gated("log_decay")(rng, sizes), int(rng.integers(2, 4))
    keys = unit(rng.standard_normal((*p.k.shape[:-1], steps, p.k.shape[-1]))).reshape(*p.k.shape[:-1], steps * p.k.shape[-1])
    values = rng.standard_normal((*p.v.shape[:-1], steps * p.v.shape[-1]))
    return p.but(k=keys, v=values, beta=2 * rng.random((*p.k.shape[:-1], steps))).astype(p.q.dtype)


def steps_of(p: Problem) -> int:
    """Returns how many steps a token of a problem drawn by `several` has."""
    return int(p.options["beta"].shape[-1])


def with_state_of_a_step(p: Problem) -> Problem:
    """Returns the problem of several steps per token with an initial state, and with the last state asked for."""
    shape = (*p.k.shape[:-2], p.q.shape[-1], p.v.shape[-1] // steps_of(p))
    return p.but(initial_state=np.cos(np.arange(np.prod(shape))).reshape(shape).astype(p.q.dtype), return_state=True)


def first_step(p: Problem) -> Problem:
    """Returns the problem in which each token has its first step alone."""
    steps = steps_of(p)
    return p.but(k=p.k[..., : p.k.shape[-1] // steps], v=p.v[..., : p.v.shape[-1] // steps], beta=p.options["beta"][..., :1])


def equal_channels(p: Problem) -> Problem:
    """Returns the problem with the decay of the first channel in every channel."""
    decay = p.options["log_decay"]
    return p.but(log_decay=decay[..., :1] + np.zeros_like(decay))


def undecayed(draw: Draw) -> Draw:
    """Returns the drawing without decay."""
    return but(draw, with_decay(np.zeros_like))


def generalized_of(p: Problem) -> Problem:
    """Returns a problem of an older state mechanism as one of the generalized delta rule.

    Its decay per head, token or channel is given to every channel. A mechanism that only adds to its state has read and write vectors
    of 0; one that corrects its state reads along -beta exp(log_decay) k and writes along k.
    """
    decay, beta = p.options.get("log_decay", np.zeros((1, 1, 1), p.k.dtype)), p.options.get("beta")
    axes = {1: (..., None, None), p.k.ndim - 1: (..., None)}.get(decay.ndim, (...,))
    decay = decay[axes] + np.zeros_like(p.k)
    none = np.zeros_like(p.k)
    if beta is None:
        return p.but(log_decay=decay, read=none, write=none)
    strength = beta[..., None]
    return p.without("beta").but(log_decay=decay, read=-strength * np.exp(decay) * p.k, write=p.k, v=strength * p.v)


def generalized_of_erasing(p: Problem) -> Problem:
    """Returns a problem of gated DeltaNet 2, with a gate for erasing and one for values, as one of the generalized delta rule."""
    decay, erase, keep = (p.options[name] for name in ("log_decay", "erase", "keep"))
    return p.without("erase", "keep").but(read=-np.exp(decay) * erase * p.k, write=p.k, v=keep * p.v)


def generalized_of_erasing_as_writing(p: Problem) -> Problem:
    """Returns the problem of gated DeltaNet 2 whose two gates are the strengths of a problem of Kimi delta attention."""
    strength = p.options["beta"][..., None]
    return generalized_of_erasing(p.without("beta").but(erase=strength + np.zeros_like(p.k), keep=strength + np.zeros_like(p.v)))


def generalized_of_comba(p: Problem) -> Problem:
    """Returns a problem of Comba, which reads along a vector of its own before the decay, as one of the generalized delta rule."""
    strength = p.options["beta"][..., None]
    decay = p.options["log_decay"][..., None] + np.zeros_like(p.k)
    return p.without("beta", "aside").but(log_decay=decay, read=-strength * p.options["aside"], write=p.k, v=strength * p.v)


def rwkv7_of(p: Problem) -> Problem:
    """Returns a problem of the delta rule, gated or not, with keys of length 1 as one of RWKV-7.

    It has removal k, rate beta exp(log_decay) and values beta v.
    """
    strength = p.options["beta"][..., None]
    decay = p.options.get("log_decay", np.zeros((1, 1), p.k.dtype))[..., None] + np.zeros_like(p.k)
    return p.without("beta").but(removal=p.k, rate=strength * np.exp(decay), v=strength * p.v, log_decay=decay)


def unremoved(p: Problem) -> Problem:
    """Returns the problem of RWKV-7 in which nothing is removed."""
    return p.but(removal=np.zeros_like(p.k))


STRENGTHS, STRENGTHS_AND_DECAYS = (but(gated("beta", *decay), lambda p: p.but(k=unit(p.k))) for decay in ((), ("log_decay",)))
ONE_STEP, UNDECAYED_STEPS = but(several, first_step), given(several, log_decay=None)
