"""tinyattn train: trains a model on a text and saves it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn.catalog import Row, find_mixer
from tinyattn.cli import memory, threads
from tinyattn.cli.model_file import opened
from tinyattn.cli.outputs import check_outputs
from tinyattn.cli.ranks import prepared, world
from tinyattn.cli.terminal import paragraph, positive, seed
from tinyattn.cli.training import Training
from tinyattn.models import Decoder, DecoderConfig, Saved, Step, checkpoint, evaluate, train
from tinyattn.models import text as texts
from tinyattn.models.optimise import AdamW
from tinyattn.models.sharded import SCHEMES, sharded, train_sharded
from tinyattn.ops.types import Array
from tinyattn.parallel.agree import Together

CONTEXT = 256


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--out", required=True, metavar="FILE", help="where the model is written, as safetensors")
    parser.add_argument("--text", metavar="FILE", help="a file, or 'shakespeare'; default: the standard library's source")
    parser.add_argument("--steps", type=positive, default=300, metavar="N", help="steps to train (default 300)")
    parser.add_argument("--context", type=positive, metavar="N", help="bytes per sequence (default 256)")
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="sequences per step (default 8)")
    parser.add_argument("--mechanism", metavar="NAME", help="the mechanism of the model (default: attention)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of weights and batches (default 0)")
    parser.add_argument("--resume", metavar="FILE", help="continue the training of a saved model, with its mechanism and context")
    parser.add_argument("--parallel", choices=list(SCHEMES),
                        help="spread each sequence over N processes, started by mpiexec -n N python -m mpi4py -m tinyattn train")


def run(given: argparse.Namespace) -> int:
    """Trains and saves."""
    if given.parallel is not None:
        return on_ranks(given)
    (decoder, config, name, state), text, held = begun(given)
    memory.keep()

    def begin(steps: int) -> Iterator[Step[Decoder]]:
        return train(decoder, text, steps=steps, context=config.context, batch=given.batch, rng=generator(given, state), state=state)

    training = Training(name, given.steps, begin)
    with threads.fitting(threads.timed(training.timed(), name), name):
        last = training.run().last
    finish(given, last, config, name, held)
    return 0


def on_ranks(given: argparse.Namespace) -> int:
    """Trains over all ranks: one of them shows the progress and saves."""
    comm = world()
    first = comm.Get_rank() == 0
    saved, text, held = prepared(comm, "tinyattn train", lambda: over_ranks(given, comm))
    decoder, config, name, state = saved
    memory.keep()

    def begin(steps: int) -> Iterator[Step[Decoder]]:
        return train_sharded(decoder, text, steps=steps, context=config.context, batch=given.batch, rng=generator(given, state),
                             state=state, comm=comm, scheme=given.parallel)

    with Together(comm, "tinyattn train"), threads.limited(1):
        if first:
            finish(given, Training(f"{name} on {comm.Get_size()} ranks", given.steps, begin).run().last, config, name, held)
        else:
            for _ in begin(given.steps):
                pass
    return 0


def generator(given: argparse.Namespace, state: AdamW | None) -> np.random.Generator:
    """Returns the generator of the batches; a training that is continued draws other ones than before."""
    return np.random.default_rng([given.seed, 0 if state is None else state.steps])


def over_ranks(given: argparse.Namespace, comm: Any) -> tuple[Saved, Array, Array]:
    """Returns the model and the two parts of the text; ValueError also for a scheme of another mechanism."""
    saved, text, held = begun(given)
    sharded(saved.decoder, given.parallel, comm, SCHEMES[given.parallel](saved.config.context, comm.Get_size()))
    return saved, text, held


def begun(given: argparse.Namespace) -> tuple[Saved, Array, Array]:
    """Returns the model, new or resumed, and the two parts of the text, after the checks of the options."""
    check_outputs(out=given.out)
    if given.text is not None and os.path.exists(given.text) and os.path.exists(given.out) and os.path.samefile(given.text, given.out):
        raise ValueError(f"--out: {given.out} is the text itself; name another file")
    row = find_mixer(given.mechanism or "attention")
    saved = resumed(given) if given.resume is not None else fresh(row, given)
    memory.check_batch(given.batch, saved.config.context)
    return saved, *texts.split(texts.read_text(given.text), context=saved.config.context)


def finish(given: argparse.Namespace, last: Step[Decoder], config: DecoderConfig, name: str, held: Array) -> None:
    """Saves the model, and prints how good it is."""
    checkpoint.save_training(given.out, last.model, config, mechanism=name, state=last.state)
    bits = evaluate.bits_per_byte(last.model, *texts.windows(held, context=config.context, limit=32))
    paragraph(f"{given.out}: {config.parameters:,} parameters, {last.state.steps} steps, {bits:.3f} bits per byte on held-out text")


def fresh(row: Row, given: argparse.Namespace) -> Saved:
    """Returns a new model."""
    config = DecoderConfig(context=given.context or CONTEXT)
    return Saved(Decoder.create(config, np.random.default_rng(given.seed), **row.mixing), config, row.name, None)


def resumed(given: argparse.Namespace) -> Saved:
    """Returns the model whose training continues; ValueError if the other options ask for another one."""
    saved = opened(given.resume)
    if given.mechanism is not None and find_mixer(given.mechanism) is not find_mixer(saved.mechanism):
        raise ValueError(f"--mechanism {given.mechanism}: the model of --resume mixes its tokens by {saved.mechanism}; leave it out")
    if given.context not in (None, saved.config.context):
        raise ValueError(f"--context {given.context}: the model of --resume has a context of {saved.config.context}; leave it out")
    return saved
