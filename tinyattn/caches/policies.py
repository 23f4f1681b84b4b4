"""Policies of eviction, one per paper: which tokens are evicted first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tinyattn.ops.checks import truth, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


class Policy(Protocol):
    """A policy of an EvictingCache; `weights` and `mass` are those of a kv head, summed over the query heads that share it."""

    def piece(self, held: int, count: int) -> int:
        """Returns how many of a chunk's next `count` tokens are stored at once when `held` tokens are held."""

    def kept(self, weights: Array, mass: Array, *, first: bool) -> Array | None:
        """Returns which tokens stay, as indices (..., kv_heads, n) in order, or None if all stay.

        weights (..., kv_heads, i, j) of the queries of this step; mass (..., kv_heads, j), the sum of all weights that each token
        has received; `first` is True in the first step.
        """

    def held(self, length: int) -> int:
        """Returns how many tokens of a prompt of this length are held."""


@dataclass(frozen=True)
class HeavyHitters:
    """Keeps the `heavy` tokens that received the most weight in total, and the `recent` newest (arXiv:2306.14048).

    The paper's Algorithm 1: each token beyond the budget evicts the token with the least accumulated weight among those that
    are not the newest; with recent=0 it may be the new token itself. Tokens are weighed one by one, whatever the chunk.

    >>> HeavyHitters(heavy=1, recent=1).kept(np.ones((1, 1, 3)), np.array([[2.0, 1.0, 0.5]]), first=False)
    array([[0, 2]])
    """

    heavy: int
    recent: int

    def __post_init__(self) -> None:
        whole("heavy", self.heavy, 0)
        whole("recent", self.recent, 0)
        whole("heavy + recent", self.heavy + self.recent, 1)

    def piece(self, held: int, count: int) -> int:
        """Returns the number of tokens that fit without eviction, or 1."""
        held, count = whole("held", held, 0), whole("count", count, 0)
        return min(count, max(1, min(held + count, self.heavy + self.recent) - held))

    def held(self, length: int) -> int:
        """Returns the length, at most heavy + recent."""
        return min(whole("length", length, 0), self.heavy + self.recent)

    def kept(self, weights: Array, mass: Array, *, first: bool) -> Array | None:
        """Returns all tokens except the one with the least weight among those that are not the newest."""
        check_weighed(weights, mass, first)
        size = mass.shape[-1]
        if size <= self.heavy + self.recent:
            return None
        lightest = mass[..., : size - self.recent].argmin(axis=-1)[..., None]
        index = np.arange(size - 1)
        return index + (index >= lightest)


@dataclass(frozen=True)
class SnapKV:
    """Keeps the tokens of a prompt that its last `window` queries attend to most, and that window (arXiv:2404.14469).

    The first step is the prompt. If it has more than `budget` tokens, the votes for each token before the window are the weights
    that the window's queries give it, averaged over `kernel` neighbours, so that tokens beside a heavy one stay too. The
    budget - window tokens with the most votes are kept, and all tokens that are decoded afterwards.

    >>> SnapKV(budget=2, window=1, kernel=1).kept(np.array([[[0.1, 0.6, 0.3]]]), np.array([[0.1, 0.6, 0.3]]), first=True)
    array([[1, 2]])
    """

    budget: int
    window: int
    kernel: int = 5

    def __post_init__(self) -> None:
        whole("window", self.window, 1)
        whole("budget", self.budget, self.window + 1)
        if whole("kernel", self.kernel, 1) % 2 == 0:
            raise ValueError(f"kernel: expected an odd number, got {self.kernel}")

    def piece(self, held: int, count: int) -> int:
        """Returns all of the chunk."""
        whole("held", held, 0)
        return whole("count", count, 0)

    def held(self, length: int) -> int:
        """Returns the length, at most the budget."""
        return min(whole("length", length, 0), self.budget)

    def kept(self, weights: Array, mass: Array, *, first: bool) -> Array | None:
        """Returns the prompt's tokens with the most votes, and its window."""
        check_weighed(weights, mass, first)
        size = weights.shape[-1]
        if not first or size <= self.budget:
            return None
        votes = weights[..., -self.window :, : size - self.window].sum(axis=-2)
        reach = self.kernel // 2
        padded = np.pad(votes, [(0, 0)] * (votes.ndim - 1) + [(reach, reach)])
        pooled = sum(padded[..., i : i + votes.shape[-1]] for i in range(self.kernel)) / self.kernel
        best = np.argsort(-pooled, axis=-1, kind="stable")[..., : self.budget - self.window]
        last = np.broadcast_to(np.arange(size - self.window, size), (*best.shape[:-1], self.window))
        return np.concatenate((np.sort(best, axis=-1), last), axis=-1)


def check_weighed(weights: Array, mass: Array, first: bool) -> None:
    """Raises unless weights (..., kv_heads, i, j) and their sums (..., kv_heads, j) fit each other."""
    weights, mass = floating("weights", weights), floating("mass", mass)
    if weights.ndim < 2 or mass.shape != (*weights.shape[:-2], weights.shape[-1]):
        raise ValueError(f"weights, mass: expected (..., kv_heads, i, j) and (..., kv_heads, j), got shapes {weights.shape} and "
                         f"{mass.shape}")
    truth("first", first)
