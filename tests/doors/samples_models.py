"""How the functions of models are called, on models of a few hundred numbers."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from door import Door
from samples_ops import of

from tinyattn import definitions, models
from tinyattn.caches import GrowingCache
from tinyattn.catalog.blocks import everywhere
from tinyattn.models.image import attending
from tinyattn.ops import plain_frequencies

MODULE = models
RNG = np.random.default_rng
FAMILY = Path(__file__).parent.parent / "models" / "pretrained" / "families" / "qwen3"
FOLDER = Path(tempfile.mkdtemp())
CONFIG = models.DecoderConfig(vocab=256, width=8, layers=1, heads=2, kv_heads=1, hidden=8, context=16)
IMAGE = models.ImageConfig(side=4, patch=2, width=8, layers=1, heads=2, hidden=8, classes=10)
TEXT = RNG(0).integers(0, 256, 400).astype(np.uint8)
TOKENS = RNG(1).integers(0, 256, (2, 6))
LOGITS = RNG(2).standard_normal((2, 7))
IMAGES, LABELS = RNG(3).random((10, 4, 4)).astype(np.float32), np.arange(10)
TREE = {"w": np.ones((2, 3)), "b": [np.zeros(3)]}


def decoder() -> models.Decoder:
    return models.Decoder.create(CONFIG, RNG(0))


def image_model() -> models.ImageModel:
    return models.ImageModel.create(IMAGE, RNG(0), block=block())


def block() -> Any:
    return attending(lambda number: everywhere)


def digits() -> models.Digits:
    return models.Digits(IMAGES, LABELS, IMAGES, LABELS)


def prefix() -> models.Prefix:
    return models.Prefix.read(decoder(), b"ab", GrowingCache)


@cache
def saved() -> Path:
    models.save_training(FOLDER / "model", decoder(), CONFIG, mechanism="attention")
    return FOLDER / "model"


def loaded() -> models.Model:
    return models.load(saved())


SAMPLED = {"temperature": 0.8, "top_k": 3, "top_p": 0.9}
MAY = ("rng", "top_k", "top_p", "cache", "draft_cache", "state")
DOORS = {
    "AdamW": Door(lambda: {"first": TREE, "second": TREE, "steps": 3},
                  after=lambda made, state: models.update(TREE, TREE, state, rate=0.1), also=("state",)),
    "AdamW.create": Door(lambda: {"params": TREE}),
    "Beams": Door(lambda: {"tokens": np.zeros((1, 2), int), "scores": np.zeros(1)}, record=True),
    "Decoder": Door(lambda: vars(decoder()), after=lambda made, model: model(TOKENS), also=("weight", "x", "tokens")),
    "Decoder.__call__": Door(lambda: {"tokens": TOKENS, "caches": [GrowingCache()], "positions": np.arange(6)[None].repeat(2, axis=0)},
                             make=decoder, below={"tokens": 256}, optional=("caches", "positions")),
    "Decoder.astype": Door(lambda: {"dtype": np.dtype(np.float64)}, make=decoder),
    "Decoder.create": Door(lambda: {"config": CONFIG, "rng": RNG(0), "mechanism": definitions.attention, "rotary": True},
                           after=lambda made, model: model(TOKENS)),
    "DecoderConfig": Door(of(vocab=16, width=8, layers=1, heads=2, kv_heads=1, hidden=8, context=16, base=100.0)),
    "DecoderConfig.from_json": Door(lambda: {"text": CONFIG.to_json()}),
    "DecoderConfig.to_json": Door(make=lambda: CONFIG),
    "Digits": Door(lambda: digits()._asdict(), record=True),
    "ImageConfig": Door(of(side=4, patch=2, width=8, layers=1, heads=2, hidden=8, classes=10)),
    "ImageModel": Door(lambda: vars(image_model()), after=lambda made, model: model(IMAGES), also=("weight", "x")),
    "ImageModel.__call__": Door(of(images=IMAGES), make=image_model),
    "ImageModel.create": Door(lambda: {"config": IMAGE, "rng": RNG(0), "block": block()}, after=lambda made, model: model(IMAGES)),
    "Model": Door(lambda: {name: getattr(loaded(), name) for name in ("network", "name", "context", "end", "read", "weights", "pooling")}, record=True),
    "Model.__call__": Door(lambda: {"tokens": TOKENS, "caches": None}, make=loaded, below={"tokens": 256}, optional=("caches",)),
    "Model.attention": Door(lambda: {"layer": 0}, make=loaded),
    "Model.attention_weights": Door(lambda: {"text": "abcdef", "layer": 0}, make=loaded),
    "Model.embed": Door(lambda: {"texts": ["a"]}, make=loaded, refuses=True),
    "Model.generate": Door(lambda: {"prompt": "abcdef", "tokens": 3, "rng": RNG(0), **SAMPLED, "cache": GrowingCache}, make=loaded, optional=MAY,
                           work=("tokens",), also=("text",)),
    "Model.logits_of": Door(lambda: {"text": "abcdef", "cache": GrowingCache}, make=loaded, optional=("cache",),
                            after=lambda made, parts: [logits for _, logits in parts]),
    "Model.loss": Door(lambda: {"text": "abcdef", "cache": GrowingCache}, make=loaded, optional=("cache",)),
    "Model.losses": Door(lambda: {"text": "abcdef", "cache": GrowingCache}, make=loaded, optional=("cache",)),
    "Model.replace": Door(lambda: {"mechanism": definitions.attention, "positions": plain_frequencies(4), "rotate": True, "layers": [0]}, make=loaded,
                          optional=("mechanism", "positions", "layers"), after=lambda made, model: model(TOKENS)),
    "Model.tokens": Door(lambda: {"text": "abcdef"}, make=loaded),
    "Prefix": Door(lambda: {name: getattr(prefix(), name) for name in ("decoder", "text", "caches")},
                   after=lambda made, read: list(read.generate(b"c", 2))),
    "Prefix.extended": Door(lambda: {"text": b"cd"}, make=prefix),
    "Prefix.free": Door(make=prefix),
    "Prefix.generate": Door(lambda: {"prompt": b"cd", "tokens": 3, "rng": RNG(0), **SAMPLED}, make=prefix, optional=MAY),
    "Prefix.read": Door(lambda: {"decoder": decoder(), "text": b"ab", "cache": GrowingCache}, after=lambda made, read: list(read.generate(b"c", 2))),
    "Saved": Door(lambda: {"decoder": decoder(), "config": CONFIG, "mechanism": "attention", "state": None}, record=True),
    "Step": Door(lambda: {"number": 1, "loss": 2.0, "seconds": 0.1, "model": decoder(), "state": models.AdamW.create(TREE)}, record=True),
    "accuracy": Door(lambda: {"model": image_model(), "images": IMAGES, "labels": LABELS}, below={"labels": 10}),
    "batch_of": Door(lambda: {"text": TEXT, "context": 4, "batch": 2, "rng": RNG(0)}),
    "beam_search": Door(lambda: {"decoder": decoder(), "prompt": b"ab", "tokens": 3, "beams": 2, "cache": GrowingCache}, optional=MAY, work=("tokens", "beams")),
    "bigram_bits_per_byte": Door(of(train=TEXT, validation=TEXT[:50])),
    "bits_per_byte": Door(lambda: {"decoder": decoder(), "inputs": TOKENS[:, :-1], "targets": TOKENS[:, 1:], "batch": 2},
                          below={"inputs": 256, "targets": 256}),
    "cached_logits": Door(lambda: {"decoder": decoder(), "tokens": TOKENS, "caches": [GrowingCache()], "prompt": 2}, below={"tokens": 256}),
    "clip": Door(lambda: {"gradients": TREE, "limit": 1.0}),
    "draw": Door(lambda: {"share": np.array([[0.5, 0.5], [0.1, 0.9]]), "rng": RNG(0)}, optional=MAY),
    "gap_in_budgets": Door(lambda: {"decoder": decoder(), "tokens": TOKENS, "cache": GrowingCache, "rng": RNG(0)}, below={"tokens": 256}),
    "generate": Door(lambda: {"decoder": decoder(), "prompt": b"ab", "tokens": 3, "rng": RNG(0), **SAMPLED, "cache": GrowingCache}, optional=MAY),
    "generate_batch": Door(lambda: {"decoder": decoder(), "prompts": [b"ab", b"c"], "tokens": 3, "rng": RNG(0), **SAMPLED, "cache": GrowingCache},
                           optional=MAY),
    "image_loss": Door(lambda: {"model": image_model(), "images": IMAGES, "labels": LABELS}, below={"labels": 10}),
    "load": Door(lambda: {"path": saved(), "dtype": np.float32, "check_finite": True, "mixing": None}, optional=("mixing",), after=lambda made, model: model(TOKENS)),
    "load_attention": Door(lambda: {"path": FAMILY, "layer": 1, "dtype": np.float32}, after=lambda made, layer: layer(np.ones((1, 3, 16), np.float32), causal=True)),
    "load_training": Door(lambda: {"path": saved()}, after=lambda made, found: found.decoder(TOKENS)),
    "logits_and_budget": Door(lambda: {"decoder": decoder(), "tokens": TOKENS, "rng": RNG(0)}, below={"tokens": 256}),
    "loss": Door(lambda: {"decoder": decoder(), "tokens": TOKENS, "targets": TOKENS}, below={"tokens": 256, "targets": 256}),
    "nearest_mean_accuracy": Door(lambda: {"digits": digits()}),
    "parameters": Door(lambda: {"tree": TREE}),
    "probabilities": Door(of(logits=LOGITS, **SAMPLED), optional=MAY),
    "read_digits": Door(),
    "read_text": Door(lambda: {"source": str(saved())}, optional=("source",)),
    "sample": Door(lambda: {"logits": LOGITS.copy(), "rng": RNG(0), **SAMPLED}, optional=MAY),
    "save_training": Door(lambda: {"path": FOLDER / "new", "decoder": decoder(), "config": CONFIG, "mechanism": "attention",
                                   "state": models.AdamW.create(decoder())}, optional=MAY),
    "schedule": Door(of(step=3, steps=10, peak=0.1, warmup=2, floor=0.1)),
    "speculate": Door(lambda: {"decoder": decoder(), "draft": decoder(), "prompt": b"ab", "tokens": 3, "rng": RNG(0), "ahead": 2, **SAMPLED,
                               "cache": GrowingCache, "draft_cache": GrowingCache}, optional=MAY),
    "split": Door(of(text=TEXT, context=4)),
    "train": Door(lambda: {"decoder": decoder(), "text": TEXT, "steps": 2, "context": 4, "batch": 2, "rng": RNG(0), "peak": 0.01,
                           "state": models.AdamW.create(decoder())}, after=lambda made, steps: [step.loss for step in steps], optional=MAY),
    "train_images": Door(lambda: {"model": image_model(), "digits": digits(), "steps": 2, "batch": 2, "rng": RNG(0), "peak": 0.01},
                         after=lambda made, steps: [step.loss for step in steps]),
    "update": Door(lambda: {"params": TREE, "gradients": TREE, "state": models.AdamW.create(TREE), "rate": 0.1, "decay": 0.1, "beta1": 0.9,
                            "beta2": 0.95, "epsilon": 1e-8}),
    "windows": Door(of(text=TEXT, context=4, limit=3)),
}
