"""The model of the synthetic tasks: tokens and their predecessors, a few blocks, and answers to the last symbols of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.cli.comparing.tasks import Asked
from tinyattn.engine.tree import map_tree
from tinyattn.layers.block import Block
from tinyattn.layers.fused import cross_entropy
from tinyattn.layers.linear import normal, project
from tinyattn.layers.norm import RMSNorm
from tinyattn.models.optimise import AdamW
from tinyattn.models.train import descend
from tinyattn.ops.types import Array

WIDTH, HEADS, HIDDEN, BATCH, RATE, BASE = 32, 2, 64, 32, 1e-2, 1000.0
# Weights of the usual size, 0.02, suit a width of hundreds: with these, texts of few symbols are learnt in a few hundred steps.
LARGER = 6.0
# Texts on which a model is judged, after how many steps, and the share of right answers at which its training may end.
HELD, EVERY, ENOUGH = 256, 25, 0.97
# What the report says of the models.
SIZES = {"width": WIDTH, "heads": HEADS, "hidden": HIDDEN, "batch": BATCH, "rate": RATE, "held": HELD, "every": EVERY,
         "enough": ENOUGH}


@dataclass(frozen=True, eq=False)
class Learner:
    """Embeddings of each token and of the one before it, blocks, a norm and a head.

    The token before stands for the short convolution that recurrent mechanisms have in practice: it ties a value to its key
    in one layer, for every mechanism alike.
    """

    embedding: Array
    before: Array
    blocks: tuple[Block, ...]
    norm: RMSNorm
    head: Array

    @classmethod
    def create(cls, rng: np.random.Generator, task: Asked, mixing: Mapping[str, Any]) -> Learner:
        """Returns a new model whose blocks mix their tokens as `mixing` says."""
        def block() -> Block:
            attention = mixing["layer"](rng, WIDTH, HEADS, HEADS, mechanism=mixing["mechanism"], inputs=mixing["inputs"],
                                        base=BASE if mixing["rotary"] else None)
            return Block.create(rng, attention, WIDTH, HIDDEN)

        made = cls(normal(rng, task.vocab, WIDTH), normal(rng, task.vocab + 1, WIDTH), tuple(block() for _ in range(task.layers)),
                   RMSNorm.create(WIDTH), normal(rng, WIDTH, task.vocab))
        return map_tree(lambda leaf: leaf * np.float32(LARGER) if np.ndim(leaf) > 1 else leaf, made)

    def __call__(self, tokens: Array, asked: int) -> Array:
        """Returns the logits (batch, asked, vocab) of the answers to the last symbols."""
        before = np.concatenate([np.full_like(tokens[:, :1], len(self.embedding)), tokens[:, :-1]], axis=1)
        x = self.embedding[tokens] + self.before[before]
        for block in self.blocks:
            x = block(x, causal=True)
        return project(self.norm(x[:, x.shape[1] - asked:]), self.head)


def accuracy(model: Learner, task: Asked, rng: np.random.Generator) -> float:
    """Returns the share of right answers to the judged questions of held texts."""
    tokens, answers = task.draw(rng, HELD)
    right = np.argmax(model(tokens, task.asked), axis=-1) == answers
    return float(right[:, task.asked - task.judged:].mean())


def learning(task: Asked, mixing: Mapping[str, Any], seed: int) -> Iterator[tuple[int, float]]:
    """Yields the number of steps and the share of right answers now and then, until it is enough or all steps are taken."""
    texts = np.random.default_rng([seed, 1])
    model = Learner.create(np.random.default_rng(seed), task, mixing)

    def loss(learner: Learner, tokens: Array, answers: Array) -> Array:
        return cross_entropy(learner(tokens, task.asked), answers)

    for step in descend(model, loss, lambda: task.draw(texts, BATCH), AdamW.create(model), steps=task.steps, peak=RATE):
        taken = step.number + 1
        if taken % EVERY == 0 or taken == task.steps:
            found = accuracy(step.model, task, np.random.default_rng([seed, 2, taken]))
            yield taken, found
            if found >= ENOUGH:
                return
