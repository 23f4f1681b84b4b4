"""The synthetic tasks: texts of a few symbols, drawn from a Generator, with questions whose answers the text determines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import permutations

import numpy as np

from tinyattn.ops.types import Array

Drawn = tuple[Array, Array]
# The symbols of recall.
KEYS, VALUES = 16, 48
PAIRS, TIMES = 4, 3
# The symbols of a text with a needle, besides the one that marks it.
NEEDLES, FILLERS = 8, 16
# The orders of three things: order g puts at place i what order 0 has at place g[i].
ORDERS = tuple(permutations(range(3)))
# PRODUCT[g, h] is the order that g makes of h.
PRODUCT = np.array([[ORDERS.index(tuple(h[i] for i in g)) for h in ORDERS] for g in ORDERS])
SWAPS = np.array([number for number, order in enumerate(ORDERS) if sum(a != b for a, b in zip(order, ORDERS[0], strict=True)) == 2])


@dataclass(frozen=True)
class Asked:
    """A synthetic task: texts of `vocab` symbols, which end with `asked` questions, of which the last `judged` are judged.

    `draw(rng, batch)` gives texts (batch, length) and the answers (batch, asked) to their last symbols, all integers. A guess is
    right with the probability 1 / `choices`, exactly. A model has so many `layers` and trains for so many `steps`.

    >>> task = tasks()["parity"]
    >>> task.chance, task.vocab
    (0.5, 2)
    """

    says: str
    guess: str
    draw: Callable[[np.random.Generator, int], Drawn]
    vocab: int
    asked: int
    choices: int
    steps: int
    judged: int = 0
    layers: int = 1

    @property
    def chance(self) -> float:
        """The share of questions that a guess answers."""
        return 1.0 / self.choices


def shuffled(rng: np.random.Generator, batch: int, symbols: int, count: int) -> Array:
    """Returns per row `count` distinct numbers below `symbols`, in any order.

    >>> shuffled(np.random.default_rng(0), 2, 3, 3).sum(axis=1)
    array([3, 3])
    """
    return rng.permuted(np.tile(np.arange(symbols), (batch, 1)), axis=1)[:, :count]


def recall(rng: np.random.Generator, batch: int, *, pairs: int, times: int) -> Drawn:
    """Returns texts that tell `pairs` keys with a value each, all of them `times` times with new values, and ask for the last ones.

    Keys are the first KEYS symbols and values those after them; the values of a text are all distinct.
    """
    keys, values = shuffled(rng, batch, KEYS, pairs), KEYS + shuffled(rng, batch, VALUES, pairs * times)
    told = np.concatenate([rng.permuted(keys, axis=1) for _ in range(times)], axis=1)
    order = shuffled(rng, batch, pairs, pairs)
    asked, answers = (np.take_along_axis(x[:, -pairs:], order, axis=1) for x in (told, values))
    return np.concatenate([np.stack([told, values], axis=-1).reshape(batch, -1), asked], axis=1), answers


def induction(rng: np.random.Generator, batch: int, *, symbols: int) -> Drawn:
    """Returns texts of all symbols in any order, which then ask which symbol followed each of them but the last."""
    told, order = shuffled(rng, batch, symbols, symbols), shuffled(rng, batch, symbols - 1, symbols - 1)
    asked, answers = (np.take_along_axis(told, places, axis=1) for places in (order, order + 1))
    return np.concatenate([told, asked], axis=1), answers


def copy(rng: np.random.Generator, batch: int, *, count: int, length: int) -> Drawn:
    """Returns texts with `count` symbols in any order among blanks, which then ask for the first of them, the second and so on.

    Symbol `count` is the blank, symbol count + 1 asks for the first one.
    """
    values, places = shuffled(rng, batch, count, count), np.sort(shuffled(rng, batch, length, count), axis=1)
    text = np.full((batch, length), count)
    np.put_along_axis(text, places, values, axis=1)
    return np.concatenate([text, np.tile(count + 1 + np.arange(count), (batch, 1))], axis=1), values


def parity(rng: np.random.Generator, batch: int, *, length: int) -> Drawn:
    """Returns texts of bits, and after each bit whether there was an odd number of ones so far."""
    bits = rng.integers(0, 2, (batch, length))
    return bits, np.cumsum(bits, axis=1) % 2


def swaps(rng: np.random.Generator, batch: int, *, length: int) -> Drawn:
    """Returns texts of an order of three things and then swaps of two places, and after each symbol the order that is reached."""
    text = SWAPS[rng.integers(0, len(SWAPS), (batch, length))]
    text[:, 0] = rng.integers(0, len(ORDERS), batch)  # so that every order is as likely as any other at every place
    reached = [text[:, 0]]
    for symbols in text[:, 1:].T:
        reached.append(PRODUCT[symbols, reached[-1]])
    return text, np.stack(reached, axis=1)


def needle(rng: np.random.Generator, batch: int, *, length: int) -> Drawn:
    """Returns texts of fillers in which one marked value stands at any depth, and which ask for it with their last symbol."""
    values, depth, rows = rng.integers(0, NEEDLES, batch), rng.integers(0, length - 2, batch), np.arange(batch)
    text = NEEDLES + 1 + rng.integers(0, FILLERS, (batch, length))
    text[rows, depth], text[rows, depth + 1], text[:, -1] = NEEDLES, values, NEEDLES
    return text, values[:, None]


def tasks(pairs: int = PAIRS, times: int = TIMES) -> Mapping[str, Asked]:
    """Returns the tasks by name; ValueError for more pairs or values than there are symbols.

    >>> list(tasks())
    ['recall', 'copy', 'induction', 'parity', 's3', 'needle']
    """
    if pairs > KEYS:
        raise ValueError(f"--pairs: there are {KEYS} keys, got {pairs} pairs")
    if pairs * times > VALUES:
        raise ValueError(f"--pairs: there are {VALUES} values, too few for {pairs} pairs that are told {times} times")
    return {
        "recall": Asked(f"{pairs} keys are told {times} times, each time with another value, and the last value of each is asked",
                        f"one of the {times} values of the key", partial(recall, pairs=pairs, times=times), KEYS + VALUES, pairs,
                        times, 250, pairs),
        "copy": Asked("4 symbols among 12 blanks, the first of which is asked, the second and so on", "one of the 4 symbols",
                      partial(copy, count=4, length=16), 9, 4, 4, 300, 4, layers=2),
        "induction": Asked("12 symbols, and what followed each of them is asked", "one of the 11 other symbols",
                           partial(induction, symbols=12), 12, 11, 11, 200, 11),
        "parity": Asked("32 bits, and whether the number of ones so far is odd", "one of 2", partial(parity, length=32),
                        2, 32, 2, 150, 8),
        "s3": Asked("an order of three things, 15 swaps of two of them, and the order that is reached", "one of 6 orders",
                    partial(swaps, length=16), 6, 16, 6, 250, 8),
        "needle": Asked("one marked value among 46 fillers", "one of 8 values", partial(needle, length=49), 25, 1, 8, 150, 1),
    }
