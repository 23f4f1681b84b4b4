"""Trains the model of trained/model.safetensors: two layers that continue letters which repeat.

    python tests/models/pretrained/make_trained.py

A text of it is a line end and random letters, which then repeat. It learns to continue them within the 64 tokens of a training text.
"""

from pathlib import Path

import numpy as np

from tinyattn.models import AdamW, Decoder, DecoderConfig, loss, save_training
from tinyattn.models.train import descend

HERE = Path(__file__).parent / "trained"
CONFIG = DecoderConfig(width=64, layers=2, heads=2, kv_heads=2, hidden=32, context=64, base=1000.0)
STEPS, BATCH = 3000, 32


def texts(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Returns texts (count, length + 1): a line end, then letters that repeat after 6 to 24."""
    made = np.full((count, length + 1), ord("\n"), np.int64)
    for row in made:
        letters = rng.integers(ord("a"), ord("z") + 1, rng.integers(6, 25))
        row[1:] = np.resize(letters, length)
    return made


def main() -> None:
    rng = np.random.default_rng(0)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        rows = texts(rng, BATCH, CONFIG.context)
        return rows[:, :-1], rows[:, 1:]

    decoder = Decoder.create(CONFIG, rng)
    for step in descend(decoder, loss, draw, AdamW.create(decoder), steps=STEPS, peak=4e-3):
        decoder = step.model
        if step.number % 200 == 0:
            print(step.number, round(step.loss, 3), flush=True)
    HERE.mkdir(exist_ok=True)
    save_training(HERE / "model.safetensors", decoder.astype(np.float16), CONFIG, mechanism="attention")


if __name__ == "__main__":
    main()
