"""tinyattn embed FILE TEXT ...: prints how similar an encoder finds texts, and writes their vectors."""

from __future__ import annotations

import argparse

import numpy as np

from tinyattn.cli.outputs import check_outputs, write_json
from tinyattn.cli.real import opened_model, said, text_of
from tinyattn.cli.terminal import progress, table
from tinyattn.ops.norm import unit

# Characters of a text that stand in the table.
SHOWN = 24


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("file", metavar="FILE", help="a folder with an encoder, such as a BERT of sentence-transformers")
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a text; @FILE reads it")
    parser.add_argument("--json", metavar="FILE", help="write the texts with their vectors")


def run(given: argparse.Namespace) -> int:
    """Prints the similarities."""
    check_outputs(json=given.json)
    texts = [text_of(text, "TEXT") for text in given.texts]
    model = opened_model(given.file)
    vectors = []
    with said(), progress("texts", len(texts)) as bar:
        for number, text in enumerate(texts, 1):
            vectors.append(model.embed(text)[0])
            bar.step(number, "")
    print(f"{model.name}: vectors of {len(vectors[0])} numbers; the cosine of the angle between each two texts")
    units = unit(np.stack(vectors))
    numbered = [f"{number}  {' '.join(text.split())[:SHOWN]}" for number, text in enumerate(texts, 1)]
    table(["text", *map(str, range(1, len(texts) + 1))],
          [[name, *(f"{cosine:.3f}" for cosine in row)] for name, row in zip(numbered, units @ units.T, strict=True)])
    if given.json is not None:
        pairs = zip(texts, vectors, strict=True)
        write_json([{"text": text, "vector": vector.tolist()} for text, vector in pairs], given.json)
    return 0
