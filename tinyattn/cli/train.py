"""tinyattn train: a model trained on a text and saved."""

from __future__ import annotations

import argparse
import math
import os

import numpy as np

from tinyattn.catalog import find
from tinyattn.cli import memory
from tinyattn.cli.terminal import positive, progress, seed
from tinyattn.models import checkpoint, evaluate
from tinyattn.models import text as texts
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder
from tinyattn.models.train import train
from tinyattn.ops.files.atomic import check_writable


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--out", required=True, metavar="FILE", help="where the model is written, as safetensors")
    parser.add_argument("--text", metavar="FILE", help="a file, or 'shakespeare'; default: the standard library's source")
    parser.add_argument("--steps", type=positive, default=300, metavar="N", help="steps to train (default 300)")
    parser.add_argument("--context", type=positive, default=256, metavar="N", help="bytes a sequence (default 256)")
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="sequences a step (default 8)")
    parser.add_argument("--mechanism", default="attention", metavar="NAME", help="default: attention")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default 0")
    parser.add_argument("--resume", metavar="FILE", help="go on with a model written before")


def run(given: argparse.Namespace) -> int:
    """Trains and saves."""
    check_writable(given.out)
    memory.keep()
    name, state = given.mechanism, None
    if given.resume:
        if not os.path.exists(given.resume):
            raise ValueError(f"--resume {given.resume}: does not exist")
        decoder, config, name, state = checkpoint.load(given.resume, mixing=lambda name: find(name).mixing)
    else:
        config = DecoderConfig(context=given.context)
        decoder = Decoder.create(config, np.random.default_rng(given.seed), **find(name).mixing)
    training, held = texts.split(texts.read_text(given.text), context=config.context)
    rng = np.random.default_rng([given.seed, 0 if state is None else state.steps])
    with progress(name, given.steps) as bar:
        for done, step in enumerate(train(decoder, training, steps=given.steps, context=config.context,
                                          batch=given.batch, rng=rng, state=state), 1):
            bar.step(done, f"{step.loss / math.log(2.0):.2f} bits")
    checkpoint.save(given.out, step.decoder, config, mechanism=find(name).name, state=step.state)
    bits = evaluate.bits_per_byte(step.decoder, *texts.windows(held, context=config.context, limit=32))
    print(f"{given.out}: {config.parameters} parameters, {step.state.steps} steps, {bits:.3f} bits a byte on held text")
    return 0
