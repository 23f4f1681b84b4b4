"""tinyattn heads FILE TEXT: says what the heads of a model look at, and writes a page with pictures."""

from __future__ import annotations

import argparse

import numpy as np

from tinyattn.cli.heads_page import page
from tinyattn.cli.outputs import check_outputs, write_json
from tinyattn.cli.real import opened_model, said, text_of
from tinyattn.cli.terminal import paragraph, progress, seed, table
from tinyattn.models.pretrained.heads import LEAST, Head, head_table
from tinyattn.ops.files.atomic import replacing

LEGEND = ("A head has a name if enough of its weight is on one kind of token, on average: previous on the token before, sink on the "
          "first token, local on the last 8 tokens, induction on what followed an earlier copy of the present token.")
# Tokens of a text that are looked at (the weights of a layer are squares), tokens in a picture, pictures of each name.
MOST, DRAWN, PICTURES = 1024, 48, 3


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("file", metavar="FILE", help="a GGUF file, a folder with config.json, or a model written by tinyattn train")
    parser.add_argument("text", metavar="TEXT", help=f"the text, of which at most {MOST} tokens are read; @FILE reads it")
    parser.add_argument("--out", metavar="FILE", help="write a page with all numbers and pictures, such as heads.html")
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of the tokens that are written twice (default 0)")


def run(given: argparse.Namespace) -> int:
    """Prints the table."""
    check_outputs(out=given.out, json=given.json)
    text, model = text_of(given.text, "TEXT"), opened_model(given.file)
    tokens = model.tokens(text)[0][:MOST]
    heads: list[Head] = []
    layers = len(model.network.blocks)
    with said(), progress("layers", layers) as bar:
        for number, found in enumerate(head_table(model, tokens, np.random.default_rng(given.seed)), 1):
            heads += found
            bar.step(number, "")
    named = [head for head in heads if head.names]
    print(f"{model.name}: {len(named)} of {len(heads)} heads have a name: "
          + ", ".join(f"{sum(kind in head.names for head in heads)} {kind}" for kind in LEAST))
    paragraph(LEGEND)
    if named:
        table(["layer.head", *LEAST, "called"], [[f"{head.layer}.{head.head}", *(f"{getattr(head, kind):.2f}" for kind in LEAST),
                                                  ", ".join(head.names)] for head in named])
    if given.out is not None:
        chosen = {head for kind in LEAST for head in [head for head in heads if kind in head.names][:PICTURES]}
        pictures = [(head, model.attention_weights(tokens[:DRAWN], head.layer)[head.head]) for head in sorted(chosen)]
        with replacing(given.out, "w") as file:
            file.write(page(model.name, heads, pictures))
        print(f"{given.out}: a page with all heads")
    if given.json is not None:
        write_json([{**head._asdict(), "names": head.names} for head in heads], given.json)
    return 0
